//! What the codes mean that want a human, and where to look: said in words wherever an operator reads why nothing more is sent.

/// An error as an operator reads it: in words, where there are any, with the provider's own code behind.
pub fn told(error: &str) -> String {
    match words(error) {
        Some(words) => format!("{words} ({error})"),
        None => error.to_owned(),
    }
}

fn words(error: &str) -> Option<&'static str> {
    let (provider, code) = error.rsplit_once(' ').unwrap_or(("", error));
    match provider {
        "Twilio" => twilio(code.parse().ok()?),
        "Meta" => meta(code.parse().ok()?),
        "Vonage" => vonage(code.parse().ok()?),
        "Infobip status" => infobip_status(code.parse().ok()?),
        "Infobip error" => infobip_error(code.parse().ok()?),
        "SMPP" | "SMPP bind" => smpp(u32::from_str_radix(code.strip_prefix("0x")?, 16).ok()?),
        "" => mobyt(code),
        "HTTP" => http(code),
        _ => None,
    }
}

fn http(status: &str) -> Option<&'static str> {
    Some(match status {
        "400" => "the provider finds the request wrong: check the sender and the account's settings",
        "401" => "authentication failed: check the account's credentials",
        "402" => "no credit: top the account up",
        "403" => "the account may not do this: check its credentials and permissions at the provider",
        "404" => "the provider does not know this account or address: check url and credentials",
        _ => return None,
    })
}

fn twilio(code: i64) -> Option<&'static str> {
    Some(match code {
        10001 => "the account is not active: look into the Twilio console",
        11200 => "Twilio cannot reach our callback address: check public_url and the web server before it",
        20003 => "authentication failed: check account_sid and auth_token, or the API key",
        20404 => "Twilio knows no such account or template: check account_sid and the template's id",
        21212 | 21601 | 21606 => "this sender cannot send SMS, or is not the account's: check the sender",
        21267 => "the account may not use this name as a sender: have it registered at Twilio",
        21408 => "sending to this country is not enabled: Geo permissions in the Twilio console",
        21608 => "a trial account writes only to numbers it has verified: upgrade it",
        21612 => "this sender cannot reach this country: use another, or have it registered",
        21617 => "the text is longer than 1600 characters: shorten it",
        21703 => "the Messaging Service has no sender: add one in the Twilio console",
        30002 => "the account is suspended: look into the Twilio console",
        30007 => "Twilio or the carrier filters this content: review the text before you go on",
        30034 => "the sender is not registered for this country (US A2P 10DLC)",
        30042 => "this name is not allowed as a sender: use another",
        57012 => "Twilio finds a signature invalid: check auth_token",
        63001 => "WhatsApp refuses the sender's credentials: look at the sender in the Twilio console",
        63005 | 63013 | 63021 | 63022 | 63030 => {
            "WhatsApp finds message or sender wrong: look at the template and the sender in the Twilio console"
        }
        63016 => "outside 24 hours only an approved template may be sent: check the sender's templates",
        63020 => "WhatsApp wants a payment method: look into the WhatsApp account's billing",
        63027..=63029 => {
            "the template does not exist in this language, or takes other values: compare it with the sender's templates"
        }
        63038 => "the account has reached its daily limit: go on after 24 hours",
        63062 => "the terms for marketing messages are not accepted yet: accept them in the console",
        _ => return None,
    })
}

fn meta(code: i64) -> Option<&'static str> {
    Some(match code {
        0 | 190 => "the access token does not fit, or has expired: make a new one and check access_token",
        3 | 10 | 200..=299 | 131_005 => {
            "the token lacks a permission: give the system user whatsapp_business_messaging for this account"
        }
        33 => "the phone number id is gone: check the sender's address",
        100 | 131_008 | 131_009 => "Meta finds a value of the request wrong: check the sender's address and its templates",
        368 | 131_031 => "the WhatsApp account is restricted: look into the Business Manager",
        130_497 => "this account may not write to that country: leave it out of the audience",
        131_021 => "the recipient is the sender itself: take that number out of the list",
        131_037 => "the display name is not approved yet: look into the WhatsApp Manager",
        131_042 => "the payment method is missing or refused: look into the account's billing",
        131_045 | 133_010 => "the phone number is not registered: register it in the WhatsApp Manager",
        131_047 => "outside 24 hours only an approved template may be sent: check the sender's templates",
        131_051..=131_053 => "WhatsApp cannot take this kind of message: check the template",
        131_063 => "marketing templates are disabled for this account: look into the WhatsApp Manager",
        131_064 => "templates were put into a wrong category too often: look into the WhatsApp Manager",
        132_000 | 132_012 => "the template takes other values: compare it with the sender's templates",
        132_001 => "the template is not approved, or not in this language: compare it with the sender's templates",
        132_005 => "the filled-in template is too long: shorten it",
        132_007 => "the template's content breaks WhatsApp's policy: change it and have it approved",
        132_015 => "the template is paused for low quality: look into the WhatsApp Manager",
        132_016 => "the template is disabled for good: write another and have it approved",
        _ => return None,
    })
}

fn vonage(code: i64) -> Option<&'static str> {
    Some(match code {
        1010..=1022 | 1130 | 1150 => "Vonage finds a value of the request wrong: check the sender and its templates",
        1060 => "the account is barred: look into the Vonage dashboard",
        1070 => "no credit: top the account up",
        1080 | 1140 => "the account is not enabled for this: ask Vonage",
        1090 => "the text is too long: shorten it",
        1110 => "a signature does not fit: check api_key and api_secret",
        1120 => "the sender is refused: have it registered at Vonage, or use another",
        1160 => "the account writes only to listed numbers: have Vonage lift that",
        1210 => "Vonage takes the content for spam: review the text before you go on",
        1250 => "there is no route to this country: ask Vonage",
        1320 => "Vonage has had this message already",
        1340 => "outside 24 hours only an approved template may be sent: check the sender's templates",
        1370 => "a token has expired: renew it in the Vonage dashboard",
        _ => return None,
    })
}

fn infobip_status(code: i64) -> Option<&'static str> {
    Some(match code {
        6 => "this network is not covered by the account: ask Infobip",
        11 | 13 => "the sender is refused: have it registered at Infobip",
        12 => "no credit: top the account up",
        17 => "the prepaid package has expired: renew it",
        18 => "a test account writes only to registered numbers: activate it",
        19 => "the account has no route to there: ask Infobip",
        24 | 51 => "Infobip finds the request wrong",
        25 => "the text is too long: shorten it",
        87 => "Infobip's fraud protection blocks this: ask Infobip",
        _ => return None,
    })
}

fn infobip_error(code: i64) -> Option<&'static str> {
    Some(match code {
        7008 => "the template takes other values: compare it with the sender's templates",
        7009 => "the template is not approved, or not in this language: compare it with the sender's templates",
        7010 => "outside 24 hours only an approved template may be sent: check the sender's templates",
        7011 => "something is wrong with the account: ask Infobip",
        7019 => "WhatsApp wants a payment method: look into the account's billing",
        7034 => "the sender is not registered: register it at Infobip",
        _ => return None,
    })
}

fn mobyt(word: &str) -> Option<&'static str> {
    Some(match word {
        "INVALIDCONTENTS" => "Mobyt finds the text or the sender wrong: check the alias and the text",
        "DEMO" => "a demo account sends nothing: have it activated",
        _ => return None,
    })
}

/// SMPP 3.4, 5.1.3; the last two are of 5.0.
fn smpp(status: u32) -> Option<&'static str> {
    Some(match status {
        0x01..=0x03 | 0x33 | 0x43 | 0x61 | 0x62 => "the SMSC finds the message wrong: check validity and joining",
        0x04 => "the SMSC does not let this session send: ask the carrier for a transceiver bind",
        0x05 => "the SMSC holds another session of this account",
        0x0a => "the SMSC refuses the sender: have it registered with the carrier, or use another",
        0x0d => "the SMSC refuses the bind: ask the carrier",
        0x0e => "authentication failed: check password",
        0x0f => "authentication failed: check system_id",
        0x15 => "the SMSC does not know the service",
        0x48..=0x49 => "the SMSC refuses the sender's type: check short_code_ton and the sender",
        0x50 | 0x51 => "the SMSC refuses the number's type: ask the carrier",
        0x53 => "authentication failed: check system_type",
        0x101 => "the account may not do this: ask the carrier",
        0x104 => "the SMSC does not take this alphabet: check alphabet",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::told;
    use crate::gateway::driver::Class;

    #[test]
    fn every_code_that_wants_a_human_says_so_in_words() {
        let tables = [
            ("Twilio ", include_str!("../../tests/data/gateways/twilio.csv")),
            ("Meta ", include_str!("../../tests/data/gateways/meta.csv")),
            ("Vonage ", include_str!("../../tests/data/gateways/vonage.csv")),
            ("Infobip ", include_str!("../../tests/data/gateways/infobip.csv")),
            ("", include_str!("../../tests/data/gateways/mobyt.csv")),
            ("SMPP ", include_str!("../../tests/data/gateways/smpp.csv")),
        ];
        for (provider, table) in tables {
            let mut pausing = 0;
            for (code, class) in table.lines().filter_map(|line| line.rsplit_once(',')) {
                let pauses = Class::parse(class).is_some_and(Class::pauses);
                let error = format!("{provider}{code}");
                assert!(!pauses || told(&error) != error, "{error}");
                pausing += usize::from(pauses);
            }
            assert!(pausing > 1, "{provider}");
        }
        assert_eq!(
            told("Twilio 20003"),
            "authentication failed: check account_sid and auth_token, or the API key (Twilio 20003)"
        );
        assert_eq!(told("the account is gone"), "the account is gone");
    }
}
