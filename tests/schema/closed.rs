//! The schema of JSON lines as tests see it: nothing may be added. In: docs/events.schema.json, which lets later releases add fields, kinds
//! and values, and how lines are written. Out: whether a line is exactly what this release writes.

use serde_json::{Map, Value};

/// How lines are written, as options say it.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// `--bytes hex`.
    pub hex: bool,
    /// `--integers string`.
    pub strings: bool,
}

/// Checks lines.
pub struct Checker {
    schemas: boon::Schemas,
    line: boon::SchemaIndex,
}

impl Checker {
    /// As readers see it.
    pub fn open(schema: Value) -> Self {
        let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
        compiler.add_resource("events.json", schema).expect("it is JSON");
        let line = compiler.compile("events.json", &mut schemas).expect("it is a schema");
        Self { schemas, line }
    }

    /// Only what this release writes in this view.
    pub fn closed(mut schema: Value, view: View) -> Self {
        for (name, form) in [("hash", view.hex), ("bytes", view.hex), ("int64", view.strings), ("uint64", view.strings)]
        {
            let forms = schema["$defs"][name].as_object_mut().expect("it has this type");
            let mut both = forms.remove("anyOf").expect("it has two forms");
            let form = both[usize::from(form)].take();
            forms.extend(form.as_object().expect("a form is a schema").clone());
        }
        close(&mut schema);
        Self::open(schema)
    }

    /// # Errors
    /// What is wrong with the line, and where.
    pub fn check(&self, line: &Value) -> Result<(), String> {
        self.schemas.validate(line, self.line).map_err(|error| format!("{error:#}"))
    }
}

/// Objects have no other fields, and values of open lists are those of today.
fn close(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(close),
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            close_object(fields);
        }
        _ => {}
    }
}

fn close_object(fields: &mut Map<String, Value>) {
    // The names of a type's own fields are no keywords.
    if fields.get("properties").is_some_and(Value::is_object) && !fields.contains_key("additionalProperties") {
        fields.insert("additionalProperties".into(), false.into());
    }
    if let Some(values) = fields.get("examples").filter(|it| it.is_array()).cloned() {
        fields.insert("enum".into(), values);
    }
}
