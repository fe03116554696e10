#!/usr/bin/env node
import { load } from "../dist/internal/load.js"

await load("tx3", () => import("../dist/tx3.js"))
