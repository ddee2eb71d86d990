//! Which tags name a language.

/// The codes of ISO 639-1.
const CODES: &str = "\
    aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es \
    et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki \
    kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no \
    nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te \
    tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu";

/// The two letters of the language that a tag such as `it`, `it-IT` or `pt_BR` names. None where it names none: a word, a language's own
/// name, three letters (RFC 5646 wants two where there are two, and no text of ours is in a language that has but three).
pub fn of(tag: &str) -> Option<&'static str> {
    let mut parts = tag.split(['-', '_']);
    let language = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
    CODES.split(' ').find(|code| *code == language).filter(|_| parts.all(is_part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::of;

    #[test]
    fn a_tag_names_a_language_by_its_two_letters() {
        for (tag, language) in [("it", "it"), ("it-IT", "it"), ("PT_br", "pt"), ("zh-Hant-TW", "zh"), ("kl", "kl"), ("zu", "zu")]
        {
            assert_eq!(of(tag), Some(language), "{tag}");
        }
        for tag in ["", "klingon", "italiano", "ita", "i", "xx", "it-", "it IT", "-it", "it-IT.UTF-8", "\\", "aa ab"] {
            assert_eq!(of(tag), None, "{tag}");
        }
        assert_eq!(super::CODES.split(' ').filter(|code| code.len() == 2).count(), 183);
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_a_language_or_not(tag in "\\PC{0,12}") {
            if let Some(language) = of(&tag) {
                prop_assert!(tag.to_ascii_lowercase().starts_with(language));
            }
        }
    }
}
