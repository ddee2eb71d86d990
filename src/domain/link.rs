//! Addresses that open a chat with us and a text in it (click-to-chat): behind a button, or in a QR code.

/// A chat in WhatsApp: the number in international form without plus, the text percent-encoded
/// (<https://faq.whatsapp.com/5913398998672934>). `number` is E.164.
pub fn whatsapp(number: &str, text: &str) -> String {
    format!("https://wa.me/{}{}", number.trim_start_matches('+'), query("?text=", text))
}

/// An SMS. RFC 5724 §2.2 begins its fields with `?`; iPhones since iOS 8 take the text after `&` alone, and Android after `?` alone: each
/// skips the other's sign. `number` is E.164.
pub fn sms(number: &str, text: &str) -> String {
    format!("sms:{number}{}", query("?&body=", text))
}

fn query(name: &str, text: &str) -> String {
    // As in a form, but for the space: to phones a plus is a plus.
    let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    if text.is_empty() { String::new() } else { format!("{name}{}", encoded.replace('+', "%20")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_as_phones_read_it() {
        assert_eq!(whatsapp("+393001234567", "Ciao & sì+1"), "https://wa.me/393001234567?text=Ciao%20%26%20s%C3%AC%2B1");
        assert_eq!(sms("+393001234567", "NEWS 1"), "sms:+393001234567?&body=NEWS%201");
        assert_eq!((whatsapp("+39300", ""), sms("+39300", "")), ("https://wa.me/39300".into(), "sms:+39300".into()));
    }

    proptest! {
        #[test]
        fn every_text_comes_back_and_cannot_add_to_the_address(text in "\\PC{1,80}") {
            for (address, name) in [(whatsapp("+393001234567", &text), "text"), (sms("+393001234567", &text), "body")] {
                let url = url::Url::parse(&address).unwrap();
                let pairs: Vec<(String, String)> = url.query_pairs().into_owned().filter(|(name, _)| !name.is_empty()).collect();
                prop_assert_eq!(pairs, vec![(name.to_owned(), text.clone())]);
                prop_assert!(url.fragment().is_none() && !address.contains('+') | address.starts_with("sms:+39"));
            }
        }
    }
}
