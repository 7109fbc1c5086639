//! How records lie in memory. In: the Rust types of the kernel side (`types.rs`), as libbpf-cargo writes them. Out: for each struct of a
//! record, Rust code that says its size and its fields by name, which src/kernel_side.rs includes. Used by build.rs.

/// Of the header and of each record. The code asks the compiler for offsets, sizes and kinds: only names and types are copied.
pub fn code(types: &str) -> Result<String, String> {
    let mut code = String::new();
    for (name, fields) in structs(types).filter(|(name, _)| *name == "event_header" || name.ends_with("_record")) {
        // That of losses has none: its counts are a table by the tracepoints of this build.
        let fields: Vec<_> = fields.into_iter().filter(|(field, of)| is_told(field) && !of.starts_with("[[")).collect();
        code += &format!("impl LaidOut for types::{name} {{\n    const FIELDS: &'static [Field<'static>] = &[\n");
        for (field, of) in fields {
            code += &format!(
                "        Field {{ name: \"{field}\", offset: offset_of!(types::{name}, {field}) as u16, size: size_of::<{of}>() as \
                 u16, kind: <{of}>::KIND }},\n"
            );
        }
        code += "    ];\n}\n";
    }
    if code.is_empty() { Err("types.rs has no struct of a record".into()) } else { Ok(code) }
}

/// The header is told apart, and what is reserved or fills gaps says nothing.
fn is_told(field: &str) -> bool {
    field != "header" && !field.starts_with("reserved") && !field.starts_with("__pad")
}

/// Each struct with its fields and their types.
fn structs(types: &str) -> impl Iterator<Item = (&str, Vec<(&str, &str)>)> {
    types.split("pub struct ").skip(1).filter_map(|text| {
        let (name, rest) = text.split_once(" {")?;
        let (body, _) = rest.split_once('}')?;
        let fields = body.lines().filter_map(|line| {
            let (field, of) = line.trim().strip_prefix("pub ")?.split_once(": ")?;
            Some((field, of.strip_suffix(',')?))
        });
        Some((name, fields.collect()))
    })
}
