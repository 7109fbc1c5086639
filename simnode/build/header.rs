//! The table of tracepoints for C. In: src/table.rs. Out: `tracepoints.h`, which probes.c includes: semaphores, functions that fire,
//! `struct probes`, and that of the layout.

use std::{fs, path::Path};

struct Row {
    name: &'static str,
    since: u32,
    function: &'static str,
    /// Names and Rust's types.
    parameters: &'static [(&'static str, &'static str)],
    /// Whether probes.c has the function.
    differs: bool,
}

macro_rules! tracepoints {
    ($(
        $variant:ident: $name:literal, since $since:literal,
            $function:ident($($parameter:ident: $type:ident),+ $(,)?) $(, $differs:ident)?;
    )*) => {
        fn rows() -> Vec<Row> {
            vec![$( Row {
                name: $name.to_str().expect("names are ASCII"),
                since: $since,
                function: stringify!($function),
                parameters: &[$((stringify!($parameter), stringify!($type))),+],
                differs: false $( || stringify!($differs) == "differs" )?,
            }, )*]
        }
    };
}

include!("../src/table.rs");

/// Writes it into a directory.
pub fn write(directory: &Path) {
    fs::write(directory.join("tracepoints.h"), text()).expect("the directory is writable");
}

fn text() -> String {
    let [mut semaphores, mut fields, mut functions, mut values] = [const { String::new() }; 4];
    for Row { name, since, function, parameters, differs } in rows() {
        let (provider, event) = name.split_once(':').expect("names have a colon");
        let arguments: Vec<&str> = parameters.iter().map(|&(name, _)| name).collect();
        let parameters: Vec<String> = parameters.iter().map(|(name, of)| format!("{}{name}", in_c(of))).collect();
        let parameters = parameters.join(", ");
        let is_there = |line: String| format!("#if LAYOUT >= {since}\n{line}\n#endif\n");
        semaphores += &format!("SEMAPHORE({provider}, {event});\n");
        fields += &format!("\tvoid (*{function})({parameters});\n");
        functions += &is_there(match differs {
            true => format!("static void {function}({parameters});"),
            false => format!(
                "static void {function}({parameters})\n{{\n\tFIRE({provider}, {event}, {});\n}}",
                arguments.join(", ")
            ),
        });
        values += &is_there(format!("\t.{function} = {function},"));
    }
    format!(
        "// Made by build/header.rs of src/table.rs.\n\n{semaphores}\nstruct probes {{\n\tint32_t layout;\n{fields}}};\n\n\
         {functions}\nstatic const struct probes probes = {{\n\t.layout = LAYOUT,\n{values}}};\n"
    )
}

/// A type, and what comes before the name of a parameter.
fn in_c(of: &str) -> &'static str {
    match of {
        "Text" => "const char *",
        "Bytes" => "const unsigned char *",
        "bool" => "bool ",
        "i32" => "int32_t ",
        "u32" => "uint32_t ",
        "i64" => "int64_t ",
        "u64" => "uint64_t ",
        "usize" => "size_t ",
        other => panic!("{other} has no type in C here"),
    }
}
