// A plugin that tells typedoc (typedoc.json) about this repository:
//
// - Modules have the names they are imported by, and stand together by package, under its description.
// - The tag of a service is a class with nothing in it: its page shows the members of the service. Classes of
//   `Data.TaggedError`, `Schema.Class` and the like extend a call, and all that would be shown of it is its text.
// - Types that are made from values have names, too.
// - Every module, every export and every member of a service must have a summary. Typedoc's own check, `notDocumented`,
//   is content with a docblock of nothing but tags, and asks for one at every field of every schema.
import { readFileSync } from "node:fs"
import { Application, Comment, CommentTag, Converter, DefaultTheme, IntrinsicType, ReflectionKind } from "typedoc"
import ts from "typescript"

const sources = /\/packages\/[\w-]+\/src\/\w+\.ts$/
const modules = /^packages\/([\w-]+)\/src\/(\w+)$/

const exports = ReflectionKind.Variable | ReflectionKind.Function | ReflectionKind.Class | ReflectionKind.Interface |
  ReflectionKind.TypeAlias | ReflectionKind.Enum | ReflectionKind.Namespace

// Characters of a variable's type, beyond which it is left out: what a large schema decodes to says more.
const typeLengthMax = 600

// Typedoc takes the docblock at a file's top for its first import's, without a tag that says otherwise.
const readFile = ts.sys.readFile
ts.sys.readFile = (path, encoding) => {
  const text = readFile(path, encoding)
  return sources.test(path) && text?.startsWith("/**")
    ? text.replace("\n */", "\n * @packageDocumentation$&")
    : text
}

/** Called by typedoc. */
export const load = (app) => {
  const classesOfCalls = new Set()
  const membersOfServices = new Set()
  const definitions = new Map()
  let named

  app.renderer.defineTheme("tx3", Theme)

  app.converter.on(Converter.EVENT_CREATE_PROJECT, ({ programs: [program] }) => {
    named = nameTypes(program)
  })

  app.converter.on(Converter.EVENT_CREATE_DECLARATION, (context, reflection) => {
    const symbol = context.getSymbolFromReflection(reflection)
    const declaration = symbol?.declarations?.find(ts.isClassDeclaration)
    const element = symbol?.declarations?.find(ts.isBindingElement)
    if (reflection.kind === ReflectionKind.Module) {
      const [, directory, name] = modules.exec(reflection.name)
      reflection.name = `@tx3/${directory}/${name}`
      reflection.comment ??= new Comment()
      reflection.comment.blockTags.push(new CommentTag("@category", [{ kind: "text", text: `@tx3/${directory}` }]))
    } else if (reflection.parent.kind === ReflectionKind.Module && element !== undefined) {
      // `export const { Tcp, Unix } = …` has one docblock for all of them.
      reflection.comment ??= context.getNodeComment(ts.walkUpBindingElementsAndPatterns(element).parent.parent, false)
    } else if (reflection.kind === ReflectionKind.TypeAlias && named.has(symbol)) {
      definitions.set(reflection, definitionOf(context.withScope(reflection), symbol, named.get(symbol)))
    } else if (reflection.kind === ReflectionKind.Class && declaration !== undefined && extendsCall(declaration)) {
      classesOfCalls.add(reflection)
      const service = serviceOf(context, declaration)
      if (service !== undefined) {
        addService(context, reflection, service)
        reflection.children?.forEach((member) => membersOfServices.add(member))
      }
    }
    // Before typedoc's own listener looks at the comments.
  }, 100)

  app.converter.on(Converter.EVENT_CREATE_PARAMETER, (_context, parameter) => {
    if (parameter.name === "__namedParameters") {
      parameter.name = "options"
    }
  })

  app.converter.on(Converter.EVENT_CREATE_DOCUMENT, (_context, document) => {
    document.name = /^# (.+)/.exec(document.content[0].text)?.[1] ?? document.name
    document.comment ??= new Comment()
    document.comment.blockTags.push(new CommentTag("@category", [{ kind: "text", text: "Guides" }]))
  })

  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const [reflection, definition] of definitions) {
      if (definition.type === "reflection" && definition.declaration.children !== undefined) {
        project.mergeReflections(definition.declaration, reflection)
        delete reflection.type
      } else {
        reflection.type = definition
      }
    }
    for (const { type } of project.getReflectionsByKind(ReflectionKind.Variable)) {
      if (type?.type === "reference" && type.toString().length > typeLengthMax) {
        type.typeArguments = [new IntrinsicType("…")]
      }
    }
    for (const reflection of classesOfCalls) {
      delete reflection.extendedTypes
      for (const child of Array.from(reflection.children ?? [])) {
        for (const each of [child, ...child.getAllSignatures()]) {
          delete each.inheritedFrom
          delete each.overwrites
        }
        if (child.kind === ReflectionKind.Constructor && child.signatures?.every(cannotBeCalled)) {
          project.removeReflection(child)
        }
      }
    }
  })

  app.converter.on(Converter.EVENT_RESOLVE_END, ({ project }) => {
    for (const category of project.categories.filter(({ title }) => title.startsWith("@tx3/"))) {
      category.description = [{ kind: "text", text: descriptionOf(category.title) }]
    }
    for (const module of project.getReflectionsByKind(ReflectionKind.Module)) {
      for (const category of module.categories ?? []) {
        category.title = category.title[0].toUpperCase() + category.title.slice(1)
      }
    }
  }, -1000)

  app.on(Application.EVENT_VALIDATE_PROJECT, (project) => {
    for (const reflection of project.getReflectionsByKind(ReflectionKind.All)) {
      const isExport = reflection.kindOf(exports) && reflection.parent.kindOf(ReflectionKind.Module)
      if (
        (isExport || reflection.kindOf(ReflectionKind.Module) || membersOfServices.has(reflection)) &&
        !hasSummary(reflection)
      ) {
        app.logger.validationWarning(`${reflection.getFullName()} has no summary: its docblock has to say what it is`)
      }
    }
  })
}

const extendsCall = (declaration) =>
  declaration.heritageClauses?.some(({ types: [base] }) => ts.isCallExpression(base.expression))

// Returns the type of the service that a tag or a reference stands for.
const serviceOf = ({ checker }, declaration) => {
  const tag = checker.getTypeOfSymbolAtLocation(declaration.symbol, declaration)
  const service = checker.getPropertyOfType(tag, "Service")
  return service && checker.getTypeOfSymbolAtLocation(service, declaration)
}

const addService = (context, reflection, service) => {
  const type = context.converter.convertType(context.withScope(reflection), service)
  if (type.type === "reflection" && type.declaration.children !== undefined) {
    context.project.mergeReflections(type.declaration, reflection)
  } else {
    const member = context.withScope(reflection).createDeclarationReflection(
      ReflectionKind.Property,
      undefined,
      undefined,
      "Service"
    )
    member.type = type
    member.comment = new Comment([{ kind: "text", text: "What is provided for it." }])
  }
}

// Typescript forgets the names of most types that are made from values, as `type X = typeof X.Type` is, and shows all
// that they are wherever they are used. Gives back their names to those that are exported, and what they are, for their
// own pages.
const nameTypes = (program) => {
  const checker = program.getTypeChecker()
  const aliases = program.getSourceFiles().filter(({ fileName }) => sources.test(fileName)).flatMap((file) =>
    checker.getExportsOfModule(file.symbol).filter(({ declarations }) => declarations.some(ts.isTypeAliasDeclaration))
  )
  return new Map(aliases.flatMap((alias) => {
    const type = checker.getDeclaredTypeOfSymbol(alias)
    if (type.aliasSymbol !== undefined || !isOfItsOwn(type)) {
      return []
    }
    type.aliasSymbol = alias
    return [[alias, type]]
  }))
}

// Not what somebody else may have the same of, as a number or a choice of two texts, nor a class, which has a name.
const isOfItsOwn = (type) =>
  type.isIntersection() || (type.isUnion() && type.types.length > 3) ||
  ((type.objectFlags ?? 0) & (ts.ObjectFlags.Anonymous | ts.ObjectFlags.Mapped)) !== 0

// Returns the definition of the type that an alias names.
const definitionOf = (context, alias, type) => {
  type.aliasSymbol = undefined
  const definition = context.converter.convertType(context, type)
  type.aliasSymbol = alias
  return definition
}

const cannotBeCalled = ({ parameters }) => parameters?.[0]?.type?.toString() === "never"

const hasSummary = (reflection) =>
  [reflection, ...reflection.getAllSignatures?.() ?? []].some(({ comment }) =>
    Comment.combineDisplayParts(comment?.summary ?? []).trim() !== ""
  )

const descriptionOf = (name) =>
  JSON.parse(readFileSync(`${name.replace("@tx3", "packages")}/package.json`, "utf8")).description

// The modules of a package are one folder of the navigation.
class Theme extends DefaultTheme {
  buildNavigation(project) {
    return super.buildNavigation(project).flatMap((element) =>
      element.text === "@tx3"
        ? element.children.map((folder) => ({ ...folder, text: `@tx3/${folder.text}` }))
        : [element]
    )
  }
}
