/** Names that a system takes for something else than a file of a folder. */

/** Characters of streams, wildcards and devices, ends that are cut off, and names of devices with any extension. */
const unusualOnWindows = /[<>:"|?*]|[. ]$|^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d\u00b9\u00b2\u00b3])\s*(\.|$)/i

/** Tells whether a file of a folder can have this name here, which has no separators in it. */
export const isFileName = (name: string, platform: NodeJS.Platform = process.platform): boolean =>
  platform !== "win32" || !unusualOnWindows.test(name)
