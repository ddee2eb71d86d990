//! Message wording: a text with four placeholders and nothing else. None is personal, so a text has one hash for everybody
//! it was sent to, and that hash is the proof of what they read.

use std::collections::HashMap;

use minijinja::{Environment, ErrorKind, UndefinedBehavior, context};

/// Every placeholder a wording may have.
pub const PLACEHOLDERS: [&str; 4] = ["brand", "link", "reply_number", "code"];

/// What the placeholders stand for. An empty one does not exist: a text that names it is an error, never a gap in a message.
#[derive(Debug, Clone, Copy, Default)]
pub struct Values<'a> {
    pub brand: &'a str,
    pub link: &'a str,
    pub reply_number: &'a str,
    pub code: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordingError {
    #[error("the wording is not well formed: {0}")]
    Syntax(String),
    #[error("the wording has {{% or {{#, but it may only name values, as in {{{{ brand }}}}")]
    Logic,
    #[error("the placeholder `{0}` does not exist")]
    Unknown(String),
    #[error("the placeholder `{0}` has no value in this message")]
    NoValue(String),
}

/// The text as a person reads it.
pub fn render(text: &str, values: &Values) -> Result<String, WordingError> {
    Wordings::default().render(text, values)
}

/// Texts read once and filled in for many people.
#[derive(Debug)]
pub struct Wordings {
    environment: Environment<'static>,
    /// The placeholders of each text in the environment, whose name there is the text itself.
    used: HashMap<String, Vec<String>>,
}

impl Default for Wordings {
    fn default() -> Wordings {
        Wordings { environment: environment(), used: HashMap::new() }
    }
}

impl Wordings {
    /// The text as a person reads it.
    pub fn render(&mut self, text: &str, values: &Values) -> Result<String, WordingError> {
        if !self.used.contains_key(text) {
            let used = placeholders(text)?;
            self.environment.add_template_owned(text.to_owned(), text.to_owned()).map_err(syntax)?;
            self.used.insert(text.to_owned(), used);
        }
        let of = |name: &str| match name {
            "brand" => values.brand,
            "link" => values.link,
            "reply_number" => values.reply_number,
            _ => values.code,
        };
        if let Some(empty) = self.used[text].iter().find(|name| of(name).is_empty()) {
            return Err(WordingError::NoValue(empty.clone()));
        }
        let Values { brand, link, reply_number, code } = *values;
        let template = self.environment.get_template(text).map_err(syntax)?;
        template.render(context! { brand, link, reply_number, code }).map_err(syntax)
    }
}

/// The placeholders a text names, in alphabetical order.
pub fn placeholders(text: &str) -> Result<Vec<String>, WordingError> {
    if text.contains("{%") || text.contains("{#") {
        return Err(WordingError::Logic);
    }
    let environment = environment();
    let mut used: Vec<String> =
        environment.template_from_str(text).map_err(syntax)?.undeclared_variables(true).into_iter().collect();
    used.sort();
    match used.iter().find(|name| !PLACEHOLDERS.contains(&name.as_str())) {
        Some(unknown) => Err(WordingError::Unknown(unknown.clone())),
        None => Ok(used),
    }
}

/// No filters, functions or escaping: a wording is not a program, and an SMS is not HTML.
fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
}

fn syntax(error: minijinja::Error) -> WordingError {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.kind() {
        ErrorKind::UnknownFilter | ErrorKind::UnknownFunction => WordingError::Syntax(format!("{detail}; there are none")),
        _ => WordingError::Syntax(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values = Values { brand: "Acme & C.", link: "https://a.example/p/x", reply_number: "+393001234567", code: "" };

    #[test]
    fn a_text_is_shown_as_written_without_escaping() {
        assert_eq!(render("{{ brand }}: {{link}}", &VALUES).as_deref(), Ok("Acme & C.: https://a.example/p/x"));
    }

    #[test]
    fn nothing_but_the_four_placeholders_gets_into_a_text() {
        assert_eq!(render("{{ name }}", &VALUES), Err(WordingError::Unknown("name".into())));
        assert_eq!(render("{{ brand.owner }}", &VALUES), Err(WordingError::Unknown("brand.owner".into())));
        assert_eq!(render("{{ code }}", &VALUES), Err(WordingError::NoValue("code".into())));
        assert_eq!(render("{% if brand %}x{% endif %}", &VALUES), Err(WordingError::Logic));
        assert!(matches!(render("{{ brand|upper }}", &VALUES), Err(WordingError::Syntax(_))));
        assert!(matches!(render("{{ brand", &VALUES), Err(WordingError::Syntax(_))));
    }
}
