#!/usr/bin/env node
import "../dist/tx3.js"
