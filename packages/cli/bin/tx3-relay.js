#!/usr/bin/env node
import "../dist/tx3-relay.js"
