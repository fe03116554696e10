/**
 * Returns `part` of `whole`, rounded up: 0.1 of 30 is 3, 0.7 of 90 is 63, 0.875 of 3 is 3.
 *
 * `part` stands for the decimal number that people write, not for the binary fraction nearest to it: 0.07 * 100 is
 * 7.000000000000001, which would be rounded up to 8.
 */
export const portionOf = (part: number, whole: number): number => {
  const [decimal, exponent] = part.toExponential().split("e") as [string, string]
  const [digits, fraction = ""] = decimal.split(".") as [string, string?]
  const denominator = 10n ** BigInt(fraction.length - Number(exponent))
  return Number((BigInt(digits + fraction) * BigInt(whole) + denominator - 1n) / denominator)
}
