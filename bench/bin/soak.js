#!/usr/bin/env node
import "../dist/soak/command.js"
