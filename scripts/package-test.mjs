// `npm run package:test [-- STEP ...]` tests what `npm run package` has made in dist/, on linux x64 as root: without a step
// each of them, in this order.
import { Buffer } from "node:buffer"
import { execFileSync, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { programs } from "./bundle.mjs"
import { cache, nodeFileOf, npm, root, sha256, version } from "./package/common.mjs"
import { makeDebianPackage } from "./package/debian.mjs"
import { fileName, makeExecutables } from "./package/executables.mjs"

const dist = join(root, "dist")
const scratch = mkdtempSync(join(tmpdir(), "tx3-package-"))
/** Newest first. */
const undo = [() => rmSync(scratch, { recursive: true, force: true })]

/** As a person's shell has it: nothing of the one that runs this. */
const env = { HOME: "/root", LANG: "C.UTF-8", PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" }

const assert = (condition, message) => {
  if (!condition) {
    throw new Error(message)
  }
}

const show = (command, args) =>
  console.log(`$ ${[command, ...args].join(" ").replaceAll(scratch, "SCRATCH").replaceAll(root, "")}`)

const run = (command, args, { code = 0, lines = 12, seconds = 300, ...options } = {}) => {
  show(command, args)
  // It ends the command's process group, and so what a shell in a chroot waits for.
  const { error, status, stderr, stdout } = spawnSync("timeout", [`${seconds}`, command, ...args], {
    encoding: "utf8",
    env,
    maxBuffer: 2 ** 26,
    stdio: ["ignore", "pipe", "pipe"],
    ...options
  })
  if (error !== undefined) {
    throw error
  }
  const said = `${stdout ?? ""}${stderr ?? ""}`.trim()
  if (said !== "") {
    console.log(said.split("\n").slice(-lines).join("\n"))
  }
  assert(status === code, status === 124 ? `it did not end in ${seconds} s` : `it ended with ${status}`)
  return said
}

/** Starts a program that runs until the end, and waits for what it says. */
const start = async (command, args, pattern) => {
  show(command, args)
  const child = spawn(command, args, { env, detached: true, stdio: ["ignore", "pipe", "pipe"] })
  const ended = once(child, "close")
  let said = ""
  child.stdout.on("data", (chunk) => said += chunk)
  child.stderr.on("data", (chunk) => said += chunk)
  const stop = () => {
    try {
      process.kill(-child.pid, "SIGTERM")
    } catch {
      // It has ended.
    }
  }
  undo.unshift(stop)
  for (let tries = 0; tries < 600; tries++) {
    const match = pattern.exec(said)
    if (match !== null) {
      console.log(said.trim())
      return { ended, stop, said: () => said }
    }
    assert(child.exitCode === null, said)
    await sleep(100)
  }
  throw new Error(`no ${pattern} in: ${said}`)
}

const address = /tx3-rst:\/\/\S+/
const executable = (program) => join(dist, fileName(program, "linux-x64"))
const deb = (program, architecture = "amd64") => join(dist, `${program}_${version}_${architecture}.deb`)

/** A minimal Debian without Node, which is made once, and a copy of it. */
const chroot = (name) => {
  const base = join(cache, "bookworm")
  if (!existsSync(base)) {
    const made = join(scratch, "bookworm")
    run("debootstrap", ["--variant=minbase", "bookworm", made, "http://deb.debian.org/debian"], {
      lines: 2,
      seconds: 900
    })
    execFileSync("mv", [made, base])
  }
  const folder = join(scratch, name)
  execFileSync("cp", ["-a", base, folder])
  execFileSync("mount", ["-t", "proc", "proc", join(folder, "proc")])
  undo.unshift(() => spawnSync("umount", ["-l", join(folder, "proc")]))
  return {
    folder,
    put: (file) => execFileSync("cp", [file, join(folder, "root")]),
    run: (script, options) => run("chroot", [folder, "sh", "-ec", script], options)
  }
}

const steps = {
  /** An executable carries bytes in the kernel, with all that it holds; made for this step, and not stripped. */
  smoke: async () => {
    const out = join(scratch, "smoke")
    // Executables keep koffi's library there.
    env.XDG_CACHE_HOME = out
    for (const program of programs) {
      await makeExecutables(program, ["linux-x64"], out, { strip: false })
    }
    const [tx3, relay] = programs.map((program) => join(out, fileName(program, "linux-x64")))
    const file = join(out, "relay.yml")
    run(relay, ["--init", "--config", file, "--bind", "tx3-rst://127.0.0.1:0"])
    const serving = await start(relay, ["--config", file], /address list end/)
    assert(run(relay, ["status", "--config", file]).includes("kernel transport"), "not the kernel transport")
    const echo = await start(tx3, ["listen", "--echo", address.exec(serving.said())[0]], address)
    run(tx3, ["ping", "--count", "1", address.exec(echo.said())[0]])
    echo.stop()
    serving.stop()
    delete env.XDG_CACHE_HOME
  },

  /** Made once more, from a bundle in another folder, a program is the same. */
  reproducible: async () => {
    for (const program of programs) {
      const out = join(scratch, "again")
      const bundles = join(scratch, "bundles")
      const { licences } = await makeExecutables(program, ["linux-x64"], out, { bundles })
      const file = makeDebianPackage({
        folder: out,
        licences,
        name: program,
        out,
        target: "linux-x64"
      })
      for (
        const [first, again] of [[executable(program), join(out, fileName(program, "linux-x64"))], [deb(program), file]]
      ) {
        console.log(`${sha256(first)}  ${first}\n${sha256(again)}  made again`)
        assert(sha256(first) === sha256(again), "they differ; if dist/ is of another commit, run npm run package again")
      }
      rmSync(out, { recursive: true })
    }
  },

  /** Every file is what its name says, with the program inside. */
  formats: () => {
    const magic = {
      "linux-x64": [/^7f454c460201/, 18, 0x3e],
      "linux-arm64": [/^7f454c460201/, 18, 0xb7],
      "darwin-x64": [/^cffaedfe/, 4, 0x1000007],
      "darwin-arm64": [/^cffaedfe/, 4, 0x100000c],
      "win32-x64": [/^4d5a/]
    }
    for (const program of programs) {
      for (const [target, [begin, at, machine]] of Object.entries(magic)) {
        const bytes = readFileSync(join(dist, fileName(program, target)))
        assert(begin.test(bytes.toString("hex", 0, 8)), `${program} for ${target} is of another format`)
        if (at !== undefined) {
          const found = target.startsWith("linux") ? bytes.readUInt16LE(at) : bytes.readUInt32LE(at)
          assert(found === machine, `${program} for ${target} is for machine ${found}`)
        } else {
          const header = bytes.readUInt32LE(0x3c)
          assert(bytes.toString("latin1", header, header + 4) === "PE\0\0", "no PE header")
          assert(bytes.readUInt16LE(header + 4) === 0x8664, "not for x64")
        }
        // Node sets this fuse in a file that carries a program.
        assert(
          bytes.includes("NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2:1"),
          `${program} for ${target} carries nothing`
        )
        console.log(`${fileName(program, target)}: ${bytes.length} bytes`)
      }
    }
  },

  /** The programs' own tests. */
  suite: () => {
    run("npx", ["vitest", "run", "--config", "vitest.workspace.ts", "packages/tx3/test", "packages/tx3-relay/test"], {
      cwd: root,
      env: { ...process.env, TX3_TEST_EXECUTABLES: dist },
      seconds: 900,
      stdio: ["ignore", "inherit", "inherit"]
    })
  },

  lintian: () => {
    for (const program of programs) {
      run("lintian", ["--allow-root", "--fail-on=error,warning", deb(program), deb(program, "arm64")])
    }
  },

  /** Installs, upgrades, removes and purges in a Debian without Node, and reaches one machine from another. */
  debian: async () => {
    const relay = chroot("relay")
    const user = chroot("user")
    const older = makeDebianPackage({
      folder: dist,
      licences: "",
      name: "tx3-relay",
      out: join(scratch, "older"),
      packageVersion: "0.0.1",
      target: "linux-x64"
    })
    ;[older, deb("tx3-relay")].forEach(relay.put)
    programs.map((program) => deb(program)).forEach(user.put)

    const install = (file) =>
      `apt-get -qq update; apt-get -qq install --yes --no-install-recommends /root/${file} 2>&1 | tail -4`
    relay.run(`if command -v node; then exit 1; fi; ${install("tx3-relay_0.0.1_amd64.deb")}`)
    const identity = "/etc/tx3-relay/identity.pem"
    assert(relay.run(`stat -c '%a %U' ${identity}`) === "400 root", "the identity may be read")
    const before = relay.run(`sha256sum ${identity}`)
    relay.run("echo 'maxControlStreams: 300' >> /etc/tx3-relay/relay.yml")
    relay.run(
      `DEBIAN_FRONTEND=noninteractive ${
        install(`tx3-relay_${version}_amd64.deb`)
      }; dpkg -s tx3-relay | grep -E 'Status|Version'`
    )
    assert(relay.run(`sha256sum ${identity}`) === before, "an upgrade changed the identity")
    relay.run(
      "grep maxControlStreams /etc/tx3-relay/relay.yml; test -x /usr/bin/tx3-relay; ls /usr/share/man/man1/tx3-relay.1.gz || true"
    )
    relay.run(`readlink /etc/systemd/system/multi-user.target.wants/tx3-relay.service`)
    // As the README says it.
    const [together] = /^apt-get install .*\.deb$/m.exec(readFileSync(join(root, "README.md"), "utf8"))
    user.run(
      `if command -v node; then exit 1; fi; cd /root; apt-get -qq update; ${
        together.replace("install", "-qq install --yes --no-install-recommends")
      } 2>&1 | tail -4; tx3 --version; tx3-relay --version`
    )

    // The unit, as systemd on this machine judges it, and its command as its user, in networks of their own.
    const unit = join(relay.folder, "usr/lib/systemd/system/tx3-relay.service")
    const units = ["tx3-relay.service", "tx3-relay-probe.service", "tx3-relay-probe.timer"].map((name) => {
      const text = readFileSync(join(relay.folder, "usr/lib/systemd/system", name), "utf8")
      writeFileSync(join(scratch, name), text.replaceAll("=/usr/bin/", `=${relay.folder}/usr/bin/`))
      return join(scratch, name)
    })
    run("systemd-analyze", ["verify", "--man=no", ...units])
    run("systemd-analyze", ["security", "--no-pager", "--offline=true", "--threshold=20", units[0]], { lines: 1 })
    const command = /^ExecStart=(.*)$/m.exec(readFileSync(unit, "utf8"))[1]
    const names = ["tx3-test-relay", "tx3-test-user"]
    for (const name of names) {
      run("ip", ["netns", "add", name])
      undo.unshift(() => spawnSync("ip", ["netns", "del", name]))
    }
    run("ip", ["link", "add", "tx3a", "netns", names[0], "type", "veth", "peer", "name", "tx3b", "netns", names[1]])
    for (const [name, link, ip] of [[names[0], "tx3a", "10.83.0.1/24"], [names[1], "tx3b", "10.83.0.2/24"]]) {
      run("ip", ["-n", name, "addr", "add", ip, "dev", link])
      run("ip", ["-n", name, "link", "set", link, "up"])
      run("ip", ["-n", name, "link", "set", "lo", "up"])
    }
    const within = (index, folder, script) => ["netns", "exec", names[index], "chroot", folder, "sh", "-ec", script]
    const asService = [
      "install -d -m 700 -o 65534 /run/tx3-relay /var/lib/tx3-relay /run/credentials",
      `install -m 400 -o 65534 ${identity} /run/credentials/identity.pem`,
      "cd /var/lib/tx3-relay",
      "export CONFIGURATION_DIRECTORY=/etc/tx3-relay CREDENTIALS_DIRECTORY=/run/credentials",
      "export TX3_RELAY_ADMIN=unix:/run/tx3-relay/admin.sock",
      `exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --bounding-set=-all ${command}`
    ].join("; ")
    const serving = await start("ip", within(0, relay.folder, asService), /address list end/)
    const to = address.exec(serving.said())[0].replace(/\/\/[^/]*\//, "//10.83.0.1:38141/")
    assert(
      relay.run("TX3_RELAY_ADMIN=unix:/run/tx3-relay/admin.sock tx3-relay status").includes("kernel transport"),
      "not the kernel transport"
    )
    run("ip", within(0, relay.folder, `tx3-relay probe ${to}`))
    user.run("head -c 3000000 /dev/urandom > /root/file; mkdir /root/in")
    const receiving = await start("ip", within(1, user.folder, `exec tx3 receive ${to} /root/in`), address)
    run(
      "ip",
      within(1, user.folder, `tx3 send /root/file ${address.exec(receiving.said())[0]}; cmp /root/file /root/in/file`)
    )
    receiving.stop()
    serving.stop()
    await serving.ended
    console.log(serving.said().split("\n").slice(-3).join("\n"))
    // As systemd does when a service has ended.
    relay.run("rm -r /run/tx3-relay /run/credentials")

    relay.run(`apt-get -qq remove --yes tx3-relay 2>&1 | tail -2; ls -l ${identity}; test ! -e /usr/bin/tx3-relay`)
    const left = "find / -xdev -path /proc -prune -o -path /root -prune -o -name '*tx3*' -print"
    for (const [machine, names] of [[relay, "tx3-relay"], [user, programs.join(" ")]]) {
      machine.run(`apt-get -qq purge --yes ${names} 2>&1 | tail -2; ${left}; test -z "$(${left})"`)
    }
  },

  /** The programs for arm64, under qemu. */
  arm64: async () => {
    const foreign = chroot("arm64")
    foreign.run(
      "dpkg --add-architecture arm64; apt-get -qq update; cd /root; apt-get -qq download " +
        ["libc6", "libgcc-s1", "libstdc++6", "libatomic1"].map((name) => `${name}:arm64`).join(" ")
    )
    const libraries = join(scratch, "arm64-libraries")
    for (const file of readdirSync(join(foreign.folder, "root")).filter((name) => name.endsWith(".deb"))) {
      execFileSync("dpkg-deb", ["--extract", join(foreign.folder, "root", file), libraries])
    }
    const qemu = (
      program,
      ...args
    ) => ["qemu-aarch64-static", ["-L", libraries, join(dist, fileName(program, "linux-arm64")), ...args]]
    for (const program of programs) {
      run(...qemu(program, "--version"))
    }
    for (const transport of ["kernel", "portable"]) {
      const folder = join(scratch, transport)
      mkdirSync(join(folder, "in"), { recursive: true })
      const file = join(folder, "relay.yml")
      run(...qemu("tx3-relay", "--init", "--config", file, "--bind", "tx3-rst://127.0.0.1:0"))
      writeFileSync(
        file,
        `${readFileSync(file, "utf8").replace(/^admin:\n( {2}- .*\n)+/m, "")}transport: ${transport}\n`
      )
      const serving = await start(
        ...qemu("tx3-relay", "--config", file),
        /address list end/
      )
      const receiving = await start(
        ...qemu("tx3", "receive", address.exec(serving.said())[0], join(folder, "in")),
        address
      )
      writeFileSync(join(folder, "file"), Buffer.alloc(3_000_000, "tx3"))
      run(...qemu("tx3", "send", join(folder, "file"), address.exec(receiving.said())[0]))
      assert(sha256(join(folder, "file")) === sha256(join(folder, "in/file")), "another file arrived")
      receiving.stop()
      serving.stop()
    }
  },

  /** The packages of npm: what would be published, and each program installed by npm alone. */
  npm: () => {
    const tarballs = join(scratch, "tarballs")
    mkdirSync(tarballs)
    npm([
      "pack",
      "--silent",
      "--pack-destination",
      tarballs,
      ...programs.map((program) => `--workspace=packages/${program}`)
    ])
    const folder = chroot("npm")
    const nodePackage = join(nodeFileOf("linux-x64"), "../..")
    const ownNpm = process.env.npm_execpath === undefined
      ? join(execFileSync("npm", ["root", "--global"], { encoding: "utf8" }).trim(), "npm")
      : join(process.env.npm_execpath, "../..")
    for (const [from, to] of [[nodePackage, "opt/node"], [ownNpm, "opt/npm"]]) {
      execFileSync("cp", ["-r", from, join(folder.folder, to)])
    }
    folder.run(
      "apt-get -qq update; apt-get -qq install --yes --no-install-recommends libatomic1 libstdc++6 2>&1 | tail -1"
    )
    // Behind a proxy that signs for others, npm trusts the registry only with the certificates that this process is given.
    const certificates = process.env.NODE_EXTRA_CA_CERTS
    if (certificates !== undefined) {
      execFileSync("cp", [certificates, join(folder.folder, "opt/certificates.pem")])
    }
    /** Installs a program in a folder of its own and asks it for its version. */
    const installed = (program, prefix, ...options) =>
      [
        "export PATH=/opt/node/bin:$PATH",
        ...certificates === undefined ? [] : ["export NODE_EXTRA_CA_CERTS=/opt/certificates.pem"],
        ["node /opt/npm/bin/npm-cli.js install --global --no-audit --no-fund", "--fetch-retries=0 --prefix", prefix]
          .concat(options, `/root/${program}-${version}.tgz`).join(" "),
        `cd /; ${prefix}/bin/${program} --version`
      ].join("; ")
    for (const program of programs) {
      folder.put(join(tarballs, `${program}-${version}.tgz`))
      const said = folder.run(installed(program, "/usr/local"), { seconds: 60 })
      assert(said.includes("kernel transport"), "npm did not install koffi")
      // koffi is all that npm fetches, and optional.
      const offline = installed(program, "/opt/offline", "--offline --cache=/opt/cache")
      const without = run("unshare", ["--net", "chroot", folder.folder, "sh", "-ec", offline], { seconds: 60 })
      assert(without.includes("no koffi"), "npm has installed koffi from somewhere")
    }
  },

  /** The files of the image: distroless has those of these packages, and the Dockerfile adds the rest. */
  image: () => {
    const folder = join(scratch, "image")
    const debian = chroot("image-debian")
    const packages = join(debian.folder, "root/packages")
    const base = [
      "base-files",
      "ca-certificates",
      "libc6",
      "libgcc-s1",
      "libgomp1",
      "libssl3",
      "libstdc++6",
      "netbase",
      "tzdata"
    ]
    for (const path of [folder, packages]) {
      mkdirSync(path)
    }
    debian.run(`apt-get -qq update; cd /root/packages; apt-get -qq download ${[...base, "libatomic1"].join(" ")}`)
    for (const file of readdirSync(packages).filter((name) => !name.startsWith("libatomic1"))) {
      execFileSync("dpkg-deb", ["--extract", join(packages, file), folder])
    }
    // The files that the stage "build" of the Dockerfile makes, and those that the final stage copies.
    const built = join(scratch, "image-built")
    execFileSync("dpkg-deb", ["--extract", deb("tx3-relay"), built])
    for (const file of readdirSync(packages).filter((name) => name.startsWith("libatomic1"))) {
      execFileSync("dpkg-deb", ["--extract", join(packages, file), join(scratch, "libatomic")])
    }
    execFileSync("cp", [
      "--dereference",
      join(scratch, "libatomic/usr/lib/x86_64-linux-gnu/libatomic.so.1"),
      join(built, "usr/lib")
    ])
    const dockerfile = readFileSync(join(root, "packaging/docker/Dockerfile"), "utf8")
    for (const [, from, to] of dockerfile.matchAll(/^COPY --from=build \/image(\S+) (\S+)$/gm)) {
      mkdirSync(join(folder, to, ".."), { recursive: true })
      execFileSync("cp", [join(built, from), join(folder, to)])
    }
    for (const path of ["etc/tx3-relay", "var/lib/tx3-relay", "proc", "tmp"]) {
      mkdirSync(join(folder, path), { recursive: true })
    }
    execFileSync("chown", ["65532:65532", join(folder, "etc/tx3-relay"), join(folder, "var/lib/tx3-relay")])
    const bytes = Number(execFileSync("du", ["-sb", "--apparent-size", folder], { encoding: "utf8" }).split("\t")[0])
    console.log(`the image's files: ${(bytes / 1e6).toFixed(1)} MB`)
    assert(bytes < 160e6, "the image is larger than 160 MB")
    execFileSync("mount", ["-t", "proc", "proc", join(folder, "proc")])
    undo.unshift(() => spawnSync("umount", ["-l", join(folder, "proc")]))
    const variables = Array.from(dockerfile.matchAll(/(TX3_\w+=\S+)/g), ([, variable]) => variable)
    const program = (
      ...args
    ) => ["env", [...variables, "chroot", "--userspec=65532:65532", folder, "/usr/bin/tx3-relay", ...args]]
    run(...program("--init"))
    const version = run(...program("--version"))
    assert(version.includes("kernel transport"), "koffi is not found")
    run(...program("check"))
  }
}

const wanted = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(steps)
try {
  for (const step of wanted) {
    assert(steps[step] !== undefined, `unknown step ${step}; known are ${Object.keys(steps).join(", ")}`)
    console.log(`\n==== ${step} ====`)
    await steps[step]()
  }
} finally {
  for (const action of undo) {
    action()
  }
}
