import * as FileSystem from "@effect/platform/FileSystem"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type { Access } from "./OperatorConfig.js"
export class AccessFileError extends Data.TaggedError("AccessFileError")<{ readonly message: string }> {}
export const resolve = (access: Access): Effect.Effect<Access, AccessFileError, FileSystem.FileSystem> =>
  Effect.as(FileSystem.FileSystem, access)
