#!/usr/bin/env node
import { load } from "../dist/internal/load.js"

await load("tx3-relay", () => import("../dist/tx3-relay.js"))
