#!/usr/bin/env node
import { load } from "@tx3/command/Load"

await load("tx3-relay", () => import("../dist/tx3-relay.js"))
