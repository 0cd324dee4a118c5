//! `-t`: an answer through a Go template.

use gtmpl_ng::Value as TemplateValue;
use serde_json::Value;

/// The text that the template makes of the value; else what is wrong with the template.
pub fn render(template: &str, value: &Value) -> Result<String, String> {
    let value = converted(value);
    gtmpl_ng::template(template, value).map_err(|error| format!("template: {error}"))
}

fn converted(value: &Value) -> TemplateValue {
    match value {
        Value::Null => TemplateValue::Nil,
        Value::Bool(bool) => TemplateValue::Bool(*bool),
        Value::Number(number) => {
            if let Some(whole) = number.as_i64() {
                whole.into()
            } else if let Some(whole) = number.as_u64() {
                whole.into()
            } else {
                number.as_f64().unwrap_or_default().into()
            }
        }
        Value::String(text) => TemplateValue::String(text.clone()),
        Value::Array(items) => TemplateValue::Array(items.iter().map(converted).collect()),
        Value::Object(entries) => {
            TemplateValue::Map(entries.iter().map(|(key, value)| (key.clone(), converted(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_see_the_fields_of_the_answer() {
        let job = serde_json::json!({ "ID": "web", "Type": "service", "Priority": 50, "Groups": [{ "Name": "a" }, { "Name": "b" }] });
        let check = |template: &str, expected: &str| assert_eq!(render(template, &job).unwrap(), expected);
        check("{{.ID}} {{.Type}}", "web service");
        check("{{range .Groups}}{{.Name}},{{end}}", "a,b,");
        check("{{if gt .Priority 40}}high{{end}} {{len .Groups}}", "high 2");
        check("{{printf \"%q\" .ID}}", "\"web\"");
        assert!(render("{{.ID", &job).is_err());
    }
}
