import { deadEnds } from "./utils/deadEnds.js"

deadEnds("portable")
