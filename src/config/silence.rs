//! Whether a sentence takes silence for a yes: silence is never one (Recital 32 GDPR). By which words it is known, `words` says, per language.

use std::ops::Range;

/// A sentence takes silence for a yes that names silence and has something assumed, and nothing denied, beside it. All three are words in
/// a row, the last of which may be a `stem*`.
#[derive(Debug)]
pub struct Silence {
    pub named: &'static [&'static str],
    pub assumed: &'static [&'static str],
    pub denied: &'static [&'static str],
}

/// The part of a sentence of `text` that takes silence for a yes, as it stands there.
pub fn silence_is_yes(text: &str, silence: &Silence) -> Option<String> {
    let text = text.replace('’', "'");
    text.split(['.', '!', '?', ';', '\n']).find_map(|sentence| {
        let words = spoken(sentence);
        let mut named = (0..words.len()).flat_map(|at| silence.named.iter().map(move |named| (at, *named)));
        let part = named.find_map(|(at, named)| assumes(&words, at, begins(&words[at..], named)?, silence))?;
        Some(sentence[part].to_owned())
    })
}

/// A word of a sentence, in small letters.
struct Spoken {
    word: String,
    at: Range<usize>,
    /// Which part of the sentence it stands in, from 0.
    clause: usize,
    is_capital: bool,
}

fn spoken(sentence: &str) -> Vec<Spoken> {
    let (mut words, mut clause, mut from): (Vec<Spoken>, usize, Option<usize>) = Default::default();
    for (at, c) in sentence.char_indices().chain([(sentence.len(), ' ')]) {
        if c.is_alphanumeric() {
            from = from.or(Some(at));
            continue;
        }
        if let Some(from) = from.take() {
            let word = &sentence[from..at];
            let is_capital = !word.chars().any(char::is_lowercase);
            words.push(Spoken { word: word.to_lowercase(), at: from..at, clause, is_capital });
        }
        clause += usize::from(",:()–—\"«»".contains(c));
    }
    words
}

/// How many of these words are `pattern`, if they begin with it.
fn begins(words: &[Spoken], pattern: &str) -> Option<usize> {
    let mut parts = pattern.split([' ', '\'']).enumerate();
    let fits = |(at, part): (usize, &str)| {
        words.get(at).is_some_and(|said| part.strip_suffix('*').map_or(said.word == part, |stem| said.word.starts_with(stem)))
    };
    parts.all(fits).then(|| pattern.split([' ', '\'']).count())
}

fn has(words: &[Spoken], patterns: &[&str]) -> bool {
    (0..words.len()).any(|at| patterns.iter().any(|pattern| begins(&words[at..], pattern).is_some()))
}

/// The part of a sentence that makes something of the silence that `length` of its words name from `at` on: what comes after, as in "if you do not
/// reply, you agree", or what stands before it at the end, as in "you agree, if you do not reply".
fn assumes(words: &[Spoken], at: usize, length: usize, silence: &Silence) -> Option<Range<usize>> {
    let (before, named) = (&words[..at], &words[at..at + length]);
    let (first, last) = (named.first()?, named.last()?);
    let rest = after_answer(&words[at + length..], last);
    let beside = &before[before.partition_point(|word| word.clause < first.clause)..];
    // "We do not take silence for consent."
    if has(beside, silence.denied) {
        return None;
    }
    for (end, word) in
        rest.iter().enumerate().filter(|(end, word)| rest.get(end + 1).is_none_or(|next| next.clause > word.clause))
    {
        let clause = &rest[rest.partition_point(|other| other.clause < word.clause)..=end];
        if has(clause, silence.assumed) && !has(&rest[..=end], silence.denied) {
            return Some(first.at.start..word.at.end);
        }
    }
    // Where a comma is due before the condition, what it is the condition of stands before the comma.
    let from = if beside.len() <= 3 { first.clause.saturating_sub(1) } else { first.clause };
    let before = &before[before.partition_point(|word| word.clause < from)..];
    let ends = rest.iter().all(|word| word.clause == last.clause);
    let is_yes = has(before, silence.assumed) && !has(before, silence.denied) && !has(before, &ONLY);
    let end = words.last()?.at.end;
    (ends && is_yes && !has(rest, silence.denied)).then(|| before.first().map_or(first.at.start, |word| word.at.start)..end)
}

/// What follows the answer that is not given: in "unless you reply NO" the NO denies nothing, and a YES there assumes nothing.
fn after_answer<'w>(rest: &'w [Spoken], named: &Spoken) -> &'w [Spoken] {
    let link = usize::from(rest.first().is_some_and(|word| LINKS.contains(&word.word.as_str())));
    let Some(answer) = rest.get(link).filter(|word| word.clause == named.clause && ANSWERS.contains(&word.word.as_str())) else {
        return rest;
    };
    let stands_alone = rest.get(link + 1).is_none_or(|next| next.clause > answer.clause);
    if stands_alone || (answer.is_capital && !named.is_capital) { &rest[link + 1..] } else { rest }
}

/// What makes a condition of a yes, in any language: "we write only if you agree".
const ONLY: [&str; 8] = ["only", "solo", "soltanto", "sólo", "nur", "tylko", "seulement", "uniquement"];

/// Answers, and what may stand before one, in any language.
const ANSWERS: [&str; 11] = ["no", "nein", "non", "nie", "yes", "si", "sì", "sí", "ja", "tak", "oui"];
const LINKS: [&str; 8] = ["con", "with", "mit", "z", "avec", "par", "di", "que"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::words::Words;

    #[test]
    fn every_word_for_silence_and_for_a_yes_makes_one_of_it_and_every_denial_none() {
        for (locale, ..) in CASES {
            let silence = &Words::of(locale).expect("a language of ours").silence;
            let [named, assumed, denied] = [silence.named, silence.assumed, silence.denied]
                .map(|patterns| patterns.iter().map(|pattern| pattern.replace('*', "")).collect::<Vec<_>>());
            let with_each_named = named.iter().map(|named| (named, &assumed[0]));
            for (named, assumed) in with_each_named.chain(assumed.iter().map(|assumed| (&named[0], assumed))) {
                for text in [
                    format!("{named} x {assumed}"),
                    format!("{named}, {assumed}"),
                    format!("{assumed} {named}"),
                    format!("{assumed}, x {named}"),
                ] {
                    assert_eq!(silence_is_yes(&text, silence).as_deref(), Some(text.as_str()), "{locale}");
                    assert_eq!(silence_is_yes(&text.replace(named, "x"), silence), None, "{locale}: {text}, without {named}");
                }
            }
            for denied in &denied {
                for text in [
                    format!("{} x {denied} {}", named[0], assumed[0]),
                    format!("{}, {denied} {}", named[0], assumed[0]),
                    format!("{denied} {} {}", assumed[0], named[0]),
                    format!("{denied} {}, x {}", assumed[0], named[0]),
                ] {
                    assert_eq!(silence_is_yes(&text, silence), None, "{locale}: {text}");
                }
            }
        }
    }

    #[test]
    fn silence_is_told_from_what_is_said_of_it() {
        for (locale, refused, fine) in CASES {
            let silence = &Words::of(locale).expect("a language of ours").silence;
            for text in refused {
                assert!(silence_is_yes(text, silence).is_some_and(|part| text.replace('’', "'").contains(&part)), "{text}");
            }
            for text in fine {
                assert_eq!(silence_is_yes(text, silence), None, "{text}");
            }
        }
    }

    /// Sentences that take silence for a yes, and their neighbors that do not.
    #[rustfmt::skip]
    const CASES: [(&str, &[&str], &[&str]); 6] = [
    (
        "it",
        &[
            "Se non rispondi sei iscritto.",
            "Chi non risponde accetta.",
            "Se non rispondi continueremo a scriverti.",
            "Sei iscritto se non rispondi.",
            "Accetti, se non rispondi NO.",
            "Se non rispondi NO sei iscritto",
            "Se non rispondi no, accetti",
            "Se non rispondi sei iscritto, non devi fare nulla",
            "Il silenzio vale consenso",
            "Il consenso si intende dato con il silenzio",
            "Senza risposta ti consideriamo iscritto",
            "In mancanza di risposta riceverai le promozioni",
            "SE NON RISPONDI ACCETTI",
            "Se non risponderai ci autorizzi a scriverti",
            "A meno che tu non risponda NO, continueremo",
        ],
        &[
            "Se non rispondi, non continueremo a scriverti.",
            "Se non rispondi non ti scriviamo più",
            "Chi non risponde non riceve nulla",
            "Se non rispondi SI, ti cancelliamo",
            "Se non rispondi SI entro 7 giorni, ti cancelliamo",
            "Non rispondere a questo SMS: per il consenso apri il link",
            "Non consideriamo il silenzio un consenso",
            "Se non rispondi ti lasciamo in pace, per accettare apri il link",
            "Scriviamo solo se accetti, se non rispondi basta così",
            "Rispondi SI per accettare. Se non rispondi, amen",
            "SE NON RISPONDI NON SEI ISCRITTO",
            "Rispondi SI per continuare, senza risposta smettiamo",
            "Nessuna risposta, nessun messaggio",
            "Ti scriviamo se accetti: se non rispondi, niente",
        ],
    ),
    (
        "en",
        &[
            "If you don’t reply we will assume you agree.",
            "Unless you reply STOP, we keep writing.",
            "If you do not reply you are subscribed",
            "Anyone who does not reply agrees",
            "No reply means yes",
            "You are subscribed unless you reply STOP",
            "If you do not reply NO, you agree",
            "We will sign you up if we hear nothing",
            "Silence means consent",
            "If you say nothing, we will send you promotions",
        ],
        &[
            "If you don’t reply we will not continue.",
            "Unless you reply, nothing is accepted.",
            "Unless you reply YES, we will not write",
            "If you do not reply YES within 7 days, we delete your number",
            "If you don't reply we won't continue",
            "We never take silence for consent",
            "If you do not reply, we delete your number. To continue, reply YES",
            "We write only if you agree, no reply and we stop",
            "We will not write unless you reply YES",
            "Do not reply to this number",
        ],
    ),
    (
        "pl",
        &[
            "Brak odpowiedzi oznacza zgode.",
            "Jeśli nie odpowiesz, zapiszemy Cię",
            "Kto nie odpowie, zgadza się",
            "Zgadzasz się, jeśli nie odpowiesz",
            "Jeśli nie odpowiesz NIE, wyrażasz zgodę",
            "Milczenie oznacza zgodę",
            "Bez odpowiedzi będziemy pisać dalej",
        ],
        &[
            "Brak odpowiedzi oznacza brak zgody.",
            "Jeśli nie odpowiesz, nie będziemy pisać",
            "Kto nie odpowie, nic nie dostanie",
            "Jeśli nie odpowiesz TAK, usuniemy numer",
            "Milczenie nie jest zgodą",
            "Nie odpowiadaj na ten numer: zgodę wyrazisz na stronie",
        ],
    ),
    (
        "de",
        &[
            "Wenn Sie nicht antworten, gilt das als Einwilligung.",
            "Wenn Sie nicht antworten, sind Sie angemeldet",
            "Wer nicht antwortet, stimmt zu",
            "Sie sind angemeldet, wenn Sie nicht antworten",
            "Keine Antwort heißt ja",
            "Schweigen gilt als Zustimmung",
            "Antworten Sie nicht mit NEIN, gilt das als Ja",
            "Wenn Sie nicht mit NEIN antworten, sind Sie angemeldet",
        ],
        &[
            "Wenn Sie nicht antworten, gilt das nicht als Ja.",
            "Wenn Sie nicht antworten, schreiben wir nicht mehr",
            "Wer nicht antwortet, erhält nichts",
            "Schweigen gilt nie als Zustimmung",
            "Antworten Sie mit JA, wenn Sie zustimmen. Wenn Sie nicht antworten, löschen wir Ihre Nummer",
            "Schweigen bedeutet kein Ja",
            "Bitte nicht antworten",
        ],
    ),
    (
        "fr",
        &[
            "Sans réponse de votre part, nous continuerons.",
            "Si vous ne répondez pas, vous êtes inscrit",
            "Qui ne répond pas accepte",
            "Vous êtes abonné si vous ne répondez pas",
            "Si vous ne répondez pas NON, vous acceptez",
            "Votre silence vaut accord",
            "Sauf refus, vous recevrez nos messages",
            "Qui ne dit mot consent",
        ],
        &[
            "Sans réponse, nous ne continuerons pas.",
            "Si vous ne répondez pas, vous ne recevrez rien",
            "Votre silence ne vaut pas accord",
            "Sans réponse, nous supprimons votre numéro",
            "Si vous ne répondez pas OUI, nous ne vous écrirons plus",
            "Ne pas répondre à ce SMS, le consentement est ici",
        ],
    ),
    (
        "es",
        &[
            "Si no respondes, entenderemos que aceptas.",
            "Si no respondes quedas suscrito",
            "Quien no responde acepta",
            "Quien calla acepta",
            "Quedas inscrito si no respondes",
            "Si no respondes NO, aceptas",
            "Tu silencio significa sí",
            "Sin respuesta te damos de alta",
        ],
        &[
            "Si no respondes, no entenderemos nada.",
            "Si no respondes no te escribiremos más",
            "Quien no responde no recibe nada",
            "El silencio no vale como sí",
            "Si no respondes SÍ, borramos tu número",
            "No responder a este SMS: para aceptar abre la página",
            "Sin respuesta no hay alta",
        ],
    ),
    ];
}
