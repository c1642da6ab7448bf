//! The keywords of a schema behind which members have names of the schema's own choice.

/// Keywords that hold subschemas by names of the schema's own choice, such as "required".
pub(crate) const NAMED: [&str; 6] = [
    "$defs",
    "definitions",
    "dependencies",
    "dependentSchemas",
    "patternProperties",
    "properties",
];
