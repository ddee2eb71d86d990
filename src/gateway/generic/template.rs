//! Templates of a request, and what is looked at before the first message: that every name in them is known, and that no value, however
//! odd, can break out of its place.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::{Environment, UndefinedBehavior, context};
use url::form_urlencoded;

/// What is wrong, and the remedy.
pub type Checked = Result<(), (String, String)>;

/// What a template may speak of.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    /// With `+`.
    pub to: &'a str,
    /// The same without it.
    pub to_digits: &'a str,
    pub from: &'a str,
    pub text: &'a str,
    pub reference: &'a str,
    /// Where receipts and replies reach us.
    pub callback: &'a str,
    pub validity_seconds: i64,
    pub validity_minutes: i64,
    /// `gsm7` or `ucs2`.
    pub encoding: &'a str,
    pub api_key: &'a str,
    pub api_secret: &'a str,
}

/// Everyday values, and others with every sign that means something in JSON, XML, a form, an address or a header.
fn samples() -> [Values<'static>; 2] {
    let sample = |text| Values {
        to: "+393000000001",
        to_digits: "393000000001",
        from: text,
        text,
        reference: text,
        callback: text,
        validity_seconds: 3600,
        validity_minutes: 60,
        encoding: "gsm7",
        api_key: text,
        api_secret: text,
    };
    [sample("plain"), sample("a\"b\\c&d=e<f>g'h/i?j#k%l+m n;o\n\u{e9}\u{20ac}")]
}

fn xml(text: &str) -> String {
    let escape = |c: char| match c {
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '&' => "&amp;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&apos;".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Fills a template in.
///
/// # Errors
/// It does not parse, or speaks of something there is not; without any value in it.
pub fn fill(template: &str, values: &Values<'_>) -> Result<String, String> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_filter("json", |text: String| serde_json::Value::String(text).to_string());
    environment.add_filter("url", |text: String| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>());
    environment.add_filter("base64", |text: String| STANDARD.encode(text));
    environment.add_filter("xml", |text: String| xml(&text));
    let values = context! {
        to => values.to, to_digits => values.to_digits, from => values.from, text => values.text, reference => values.reference,
        callback => values.callback, validity_seconds => values.validity_seconds, validity_minutes => values.validity_minutes,
        encoding => values.encoding, api_key => values.api_key, api_secret => values.api_secret,
    };
    environment.render_str(template, values).map_err(|error| match error.kind() {
        minijinja::ErrorKind::UndefinedError => "it speaks of something there is not".to_owned(),
        minijinja::ErrorKind::UnknownFilter => "it uses a filter there is not".to_owned(),
        _ => format!("it cannot be read: {}", error.kind()),
    })
}

fn both(template: &str) -> Result<[String; 2], (String, String)> {
    let [plain, odd] = samples();
    let known = "write {{ to }}, {{ to_digits }}, {{ from }}, {{ text }}, {{ reference }}, {{ callback }}, {{ validity_seconds }}, \
                 {{ validity_minutes }}, {{ encoding }}, {{ api_key }} or {{ api_secret }}, with |json, |url, |xml or |base64";
    let fill = |values| fill(template, &values).map_err(|what| (what, known.to_owned()));
    Ok([fill(plain)?, fill(odd)?])
}

fn count(text: &str, signs: &str) -> usize {
    text.chars().filter(|c| signs.contains(*c)).count()
}

/// A body: JSON by its first sign, XML by its, else a form.
pub fn body(template: &str) -> Checked {
    let [plain, odd] = both(template)?;
    let broken = |filter: &str| {
        Err((
            "a value could break out of its place".to_owned(),
            format!(
                "write each value with its filter, as in {{{{ text|{filter} }}}}{}",
                if filter == "json" { ", without quotes around it" } else { "" }
            ),
        ))
    };
    match plain.trim_start().chars().next() {
        Some('{' | '[') => match [&plain, &odd].map(|text| serde_json::from_str::<serde_json::Value>(text).is_ok()) {
            [true, true] => Ok(()),
            _ => broken("json"),
        },
        Some('<')
            if count(&plain, "<>\"&")
                == count(
                    &odd.replace("&lt;", "").replace("&gt;", "").replace("&quot;", "").replace("&apos;", "").replace("&amp;", ""),
                    "<>\"&",
                ) =>
        {
            Ok(())
        }
        Some('<') => broken("xml"),
        _ if count(&plain, "&=") == count(&odd, "&=") && count(&odd, " \n\"#") == count(&plain, " \n\"#") => Ok(()),
        _ => broken("url"),
    }
}

/// What follows the address of the API.
pub fn path(template: &str) -> Checked {
    let [plain, odd] = both(template)?;
    let signs = "&=?/#<>\"\\ \n";
    match plain.starts_with(['/', '?']) && count(&plain, signs) == count(&odd, signs) {
        true => Ok(()),
        false => Err((
            "it is no path, or a value could break out of its place".to_owned(),
            "begin with / or ?, and write each value as {{ to|url }}".to_owned(),
        )),
    }
}

/// A header, `Name: template`.
pub fn header(line: &str) -> Checked {
    let remedy = || "write \"Name: value\", as in \"Authorization: Bearer {{ api_key }}\"".to_owned();
    let Some((name, value)) = line.split_once(": ") else { return Err((format!("`{line}` is no header"), remedy())) };
    if reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err((format!("`{name}` is no name of a header"), remedy()));
    }
    let secret =
        ["authorization", "key", "token", "secret", "password"].iter().any(|word| name.to_ascii_lowercase().contains(word));
    if secret && !value.contains("{{") {
        let remedy = "write {{ api_key }} or {{ api_secret }} there, and the secret into api_key_env or api_key_file";
        return Err(("a secret must not stand in this file".to_owned(), remedy.to_owned()));
    }
    both(value).map(|_| ())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Values, body, fill, header, path, samples};

    #[test]
    fn a_template_that_a_value_could_break_is_refused() {
        assert!(body(r#"{"to": {{ to|json }}, "text": {{ text|json }}, "ttl": {{ validity_seconds }}}"#).is_ok());
        assert!(body(r#"{"to": "{{ to }}", "text": "{{ text }}"}"#).is_err());
        assert!(body("to={{ to|url }}&text={{ text|url }}").is_ok());
        assert!(body("to={{ to|url }}&text={{ text }}").is_err());
        assert!(body("<sms to=\"{{ to_digits }}\">{{ text|xml }}</sms>").is_ok());
        assert!(body("<sms>{{ text }}</sms>").is_err());
        assert!(path("/send?to={{ to|url }}&text={{ text|url }}").is_ok());
        assert!(path("/send?text={{ text }}").is_err());
        assert!(body("{{ nothing }}").is_err() && body("{{ text|nothing }}").is_err() && body("{{ text").is_err());
        assert!(header("Authorization: Basic {{ (api_key ~ ':' ~ api_secret)|base64 }}").is_ok());
        assert!(header("Authorization: Bearer 123").is_err() && header("X Y: 1").is_err() && header("X").is_err());
    }

    proptest! {
        #[test]
        fn what_was_put_in_comes_out_and_nothing_else(text in ".*") {
            let values = Values { text: &text, from: &text, ..samples()[0].clone() };
            let json = fill(r#"{"a": {{ text|json }}, "b": {{ from|json }}}"#, &values).unwrap();
            let expected = serde_json::json!({ "a": text, "b": text });
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), expected);
            let form = fill("a={{ text|url }}&b={{ from|url }}", &values).unwrap();
            let read: Vec<(String, String)> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
            prop_assert_eq!(read, vec![("a".to_owned(), text.clone()), ("b".to_owned(), text.clone())]);
        }

        #[test]
        fn no_template_makes_it_fall_over(text in ".*") {
            let _ = (body(&text), path(&text), header(&text));
        }
    }
}
