/** Makes Debian packages of executables, with dpkg-deb. Files of the packages that are no executables are in packaging/. */
import { execFileSync } from "node:child_process"
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { gzipSync } from "node:zlib"
import { cache, epoch, koffiOf, nodeOf, nodeVersion, root, version } from "./common.mjs"
import { fileName } from "./executables.mjs"

export const architectures = { "linux-x64": "amd64", "linux-arm64": "arm64" }

const maintainer = "tx3 maintainers <maintainers@tx3.example>"

const packages = {
  tx3: {
    summary: "reach machines behind a NAT through a relay",
    text:
      "tx3 makes a machine behind a NAT reachable over TCP: it registers with a relay, and peers connect to it through the\n" +
      "relay, with TLS 1.3 from end to end. It carries SSH, HTTP and every other protocol on TCP, and sends files.",
    fields: ["Suggests: tx3-relay"],
    units: { "usr/lib/systemd/user": ["tx3-up.service"] }
  },
  "tx3-relay": {
    summary: "TCP rendezvous relay for machines behind a NAT",
    text:
      "Machines behind a NAT register with the relay, and peers reach them through it. The relay joins their connections and\n" +
      "cannot read them. This package runs it as a service of systemd, with an identity of its own.",
    fields: ["Recommends: systemd (>= 247)", "Suggests: tx3"],
    units: {
      "usr/lib/systemd/system": ["tx3-relay.service", "tx3-relay-probe.service", "tx3-relay-probe.timer"]
    }
  }
}

const packaging = (path) => readFileSync(join(root, "packaging", path), "utf8")

const gzip = (text) => gzipSync(text, { level: 9 })

const wrap = (text, indent) =>
  text.replaceAll(/\s+/g, " ").replaceAll(/(.{1,74})(?:\s|$)/g, (_, line) => `${indent}${line}\n`).trimEnd()

/** This version's section of CHANGELOG.md, as Debian writes it. */
const changelog = (name, debianVersion) => {
  const [, text = "See CHANGELOG.md."] =
    new RegExp(`^## ${version.replaceAll(".", "\\.")}\n\n(.*?)(?=^## |$(?![^]))`, "ms").exec(
      readFileSync(join(root, "CHANGELOG.md"), "utf8")
    ) ?? []
  const date = new Date(epoch * 1000).toUTCString().replace("GMT", "+0000")
  return `${name} (${debianVersion}) stable; urgency=medium\n\n  * ${
    wrap(text.trim(), "    ").trimStart()
  }\n\n -- ${maintainer}  ${date}\n`
}

/** The licences of all that the executable contains. */
const copyright = (name, target, licences) =>
  [
    `${name} is under the Apache License 2.0, which is in /usr/share/common-licenses/Apache-2.0 on Debian systems.`,
    "Copyright: the authors of tx3",
    "",
    `/usr/bin/${name} contains Node.js ${nodeVersion}, whose license follows, and then the packages of npm below it.`,
    "",
    readFileSync(join(nodeOf(target), "LICENSE"), "utf8"),
    "-".repeat(80),
    "",
    licences
  ].join("\n")

/** Makes one package; `folder` has the executables. Returns its path. */
export const makeDebianPackage = ({ folder, licences, name, out, packageVersion = version, target }) => {
  const architecture = architectures[target]
  const debianVersion = packageVersion.replace("-", "~")
  const { fields, summary, text, units } = packages[name]
  const tree = join(cache, "debian", `${name}-${architecture}`)
  rmSync(tree, { recursive: true, force: true })
  const put = (path, content, mode = 0o644) => {
    const file = join(tree, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, content)
    chmodSync(file, mode)
  }
  const completions = (shell) =>
    execFileSync(process.execPath, [join(root, "packages", name, "bin", `${name}.cjs`), "--completions", shell])

  put(`usr/bin/${name}`, readFileSync(join(folder, fileName(name, target))), 0o755)
  put(`usr/lib/${name}/koffi.node`, readFileSync(koffiOf(target)))
  put(`usr/share/man/man1/${name}.1.gz`, gzip(packaging(`man/${name}.1`)))
  put(`usr/share/bash-completion/completions/${name}`, completions("bash"))
  put(`usr/share/zsh/vendor-completions/_${name}`, completions("zsh"))
  put(`usr/share/fish/vendor_completions.d/${name}.fish`, completions("fish"))
  put(`usr/share/doc/${name}/copyright`, copyright(name, target, licences))
  put(`usr/share/doc/${name}/changelog.gz`, gzip(changelog(name, debianVersion)))
  put(`usr/share/lintian/overrides/${name}`, packaging("debian/lintian-overrides").replaceAll("PACKAGE", name))
  for (const [to, names] of Object.entries(units)) {
    for (const unit of names) {
      put(`${to}/${unit}`, packaging(`systemd/${unit}`).replaceAll("/usr/local/bin/", "/usr/bin/"))
    }
  }
  if (name === "tx3-relay") {
    put("etc/tx3-relay/relay.yml", packaging("debian/relay.yml"))
    put("DEBIAN/conffiles", "/etc/tx3-relay/relay.yml\n")
    for (const script of ["postinst", "prerm", "postrm"]) {
      put(`DEBIAN/${script}`, packaging(`debian/${name}.${script}`), 0o755)
    }
  }
  execFileSync("chmod", ["-R", "u=rwX,go=rX", tree])
  const size = execFileSync("du", ["-sk", "--apparent-size", tree], { encoding: "utf8" }).split("\t")[0]
  put(
    "DEBIAN/control",
    [
      `Package: ${name}`,
      `Version: ${debianVersion}`,
      `Architecture: ${architecture}`,
      `Maintainer: ${maintainer}`,
      `Installed-Size: ${size}`,
      // The libraries that Node is linked with: objdump -T.
      "Depends: libatomic1 (>= 4.8), libc6 (>= 2.28), libgcc-s1 (>= 3.0), libstdc++6 (>= 5)",
      ...fields,
      "Section: net",
      "Priority: optional",
      `Description: ${summary}`,
      wrap(text, " "),
      ""
    ].join("\n")
  )
  mkdirSync(out, { recursive: true })
  const file = join(out, `${name}_${debianVersion}_${architecture}.deb`)
  execFileSync("dpkg-deb", ["--root-owner-group", "-Zxz", "-z1", "--threads-max=1", "--build", tree, file], {
    env: { ...process.env, SOURCE_DATE_EPOCH: `${epoch}` },
    stdio: ["ignore", "ignore", "inherit"]
  })
  return file
}
