/** Counts things, in all and by key. A key that counts nothing takes no memory. */
export class Tally<K> {
  private readonly byKey = new Map<K, number>()
  total = 0

  of(key: K): number {
    return this.byKey.get(key) ?? 0
  }

  add(key: K) {
    this.total++
    this.byKey.set(key, this.of(key) + 1)
  }

  remove(key: K) {
    this.total--
    const left = this.of(key) - 1
    if (left > 0) {
      this.byKey.set(key, left)
    } else {
      this.byKey.delete(key)
    }
  }

  entries(): ReadonlyMap<K, number> {
    return this.byKey
  }
}
