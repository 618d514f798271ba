use d2r_contracts::report_text::{
    CleaningRules, Lateralities, clean, lateralities, mentions_prior, readable, readable_sentences, sentences,
    sentences_with_source, swap_laterality, tokens,
};
use d2r_contracts::vocabulary::Vocabulary;
use serde_json::Value;

#[test]
fn cleaning_agrees_with_the_rules_written_in_python() {
    let golden: Value = serde_json::from_str(include_str!("../../golden/report_text.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 200, "only {} cases", cases.len());
    for case in cases {
        let report = case[0].as_str().unwrap();
        assert_eq!(clean(report, CleaningRules::IuXray), case[1].as_str().unwrap(), "iu_xray: {report:?}");
        assert_eq!(clean(report, CleaningRules::MimicCxr), case[2].as_str().unwrap(), "mimic_cxr: {report:?}");
    }
}

#[test]
fn defects_of_the_published_rules_are_kept() {
    assert_eq!(clean("", CleaningRules::IuXray), ".");
    assert_eq!(clean("A 2.5 cm left-sided nodule.", CleaningRules::IuXray), "a 25 cm left-sided nodule .");
    assert_eq!(clean("Fracture of L1. Stable.", CleaningRules::MimicCxr), "fracture of lstable .");
    assert_eq!(clean("a\nb ___ c", CleaningRules::MimicCxr), "a b c .");
}

#[test]
fn sentences_are_the_text_between_stops() {
    let text = "the heart is normal . no effusion .";
    let found = sentences(text);
    assert_eq!(found.iter().map(|s| s.text.as_str()).collect::<Vec<_>>(), ["the heart is normal", "no effusion"]);
    assert_eq!((found[0].char_start, found[0].char_end), (0, 19));
    assert_eq!((found[1].char_start, found[1].char_end), (22, 33));
    assert_eq!((found[0].tokens.clone(), found[1].tokens.clone()), (0..4, 5..7));
    assert_eq!(&tokens(text)[5..7], ["no", "effusion"]);
}

#[test]
fn tokenised_text_is_written_as_a_person_does() {
    for (tokens, written) in [
        ("the heart is normal . no effusion .", "The heart is normal. No effusion."),
        ("the tip of the picc is in the svc .", "The tip of the PICC is in the SVC."),
        ("ap view . t8 is collapsed , l1 is not .", "AP view. T8 is collapsed, L1 is not."),
        ("picc line and two piccs .", "PICC line and two PICCs."),
        ("a 2 . 5 cm nodule ( 1 . 5 x 2 cm before ) .", "A 2.5 cm nodule (1.5 x 2 cm before)."),
        ("nodules of t8 and 5 . 2 nodules are small .", "Nodules of T8 and 5. 2 nodules are small."),
        ("atelectasis and / or pneumonia .", "Atelectasis and/or pneumonia."),
        ("post-cabg changes ; pa/lateral views .", "Post-CABG changes; PA/lateral views."),
        ("atelectasis vs . pneumonia .", "Atelectasis vs. pneumonia."),
        (
            "the patient 's et tube , swan-ganz and kerley b lines .",
            "The patient's ET tube, Swan-Ganz and Kerley B lines.",
        ),
        ("here i see findings et al .", "Here I see findings et al."),
        ("is there a nodule ? no .", "Is there a nodule? No."),
        (". . the lungs . . are clear", "The lungs. Are clear"),
        ("\u{e9}panchement .", "\u{c9}panchement."),
        ("3 nodules .", "3 nodules."),
        ("", ""),
        (" . ", ""),
    ] {
        assert_eq!(readable(tokens), written, "{tokens}");
        assert_eq!(readable(written), written, "what is written stays");
    }
    let kept = "The tube ends 3.2 cm above the carina (T4). Seen by Dr. Smith, e.g. at 8:15; 50% wider, L1-L2: 1.5 mm.";
    assert_eq!(readable(kept), kept);
    assert_eq!(readable_sentences("the heart is large . no t8 . the"), ["The heart is large.", "No T8.", "The"]);
    assert_eq!(readable_sentences("clear . large ."), ["Clear.", "Large."]);
    assert!(readable_sentences(" . ").is_empty());
}

#[test]
fn sentences_know_their_source() {
    let source =
        "1. The HEART\nis normal. 2. Opacities/atelectasis (5 mm); ?pneumonia.  No caf\u{c9} \u{130}. Effusion: no";
    for rules in [CleaningRules::IuXray, CleaningRules::MimicCxr] {
        let found = sentences_with_source(&clean(source, rules), source);
        let sources: Vec<&str> = found.iter().map(|(_, source)| source.as_str()).collect();
        let expected = [
            "The HEART\nis normal.",
            "Opacities/atelectasis (5 mm); ?pneumonia.",
            "No caf\u{c9} \u{130}.",
            "Effusion: no",
        ];
        assert_eq!(sources, expected);
        assert_eq!(found[1].0.text, "opacitiesatelectasis 5 mm pneumonia");
    }
    // Left-out sentences do not shift the others; text of another origin is its own source.
    let found = sentences_with_source("b c . d .", "A a. B/c. C c. D!");
    assert_eq!(found.iter().map(|(_, s)| s.as_str()).collect::<Vec<_>>(), ["B/c.", "D!"]);
    for other in ["", "something else", "the"] {
        let found = sentences_with_source("the heart is normal . 25 .", other);
        assert_eq!(found.iter().map(|(_, s)| s.as_str()).collect::<Vec<_>>(), ["the heart is normal", "25"]);
    }
    assert!(sentences_with_source("", "text").is_empty());
}

#[test]
fn sentences_of_degenerate_texts() {
    assert!(sentences("").is_empty());
    assert!(sentences(" . . ").is_empty());
    let cut_off = sentences("clear lungs . the heart");
    assert_eq!(cut_off.len(), 2);
    assert_eq!(cut_off[1].text, "the heart");
    // Offsets count characters, not bytes.
    let wide = sentences("\u{e9}\u{1f600} a . b .");
    assert_eq!((wide[1].char_start, wide[1].char_end), (7, 8));
    assert_eq!(wide[0].text, "\u{e9}\u{1f600} a");
}

#[test]
fn mentions_of_earlier_studies_are_whole_words() {
    for text in [
        "Compared to the prior film.",
        "unchanged .",
        "heart remains large",
        "a NEW opacity",
        "re-demonstrated nodule",
        "worse .",
    ] {
        assert!(mentions_prior(text), "{text}");
    }
    for text in ["", "the heart is normal .", "newton knew priority", "against the stables"] {
        assert!(!mentions_prior(text), "{text}");
    }
}

#[test]
fn lateralities_are_whole_words_and_bilateral_is_both() {
    assert_eq!(lateralities("left-sided effusion"), Lateralities { left: true, right: false });
    assert_eq!(lateralities("RIGHT apex"), Lateralities { left: false, right: true });
    for text in ["bilateral effusions", "both lungs", "left and right", "bibasilar atelectasis"] {
        assert_eq!(lateralities(text), Lateralities { left: true, right: true }, "{text}");
    }
    assert_eq!(lateralities("upright film, cleft, leftover, brightness"), Lateralities::default());
}

#[test]
fn swapping_laterality_keeps_case_and_is_its_own_inverse() {
    let text = "Left-sided effusion. RIGHT apex clear; tip in the right atrium, leftward shift. Upright.";
    let swapped = "Right-sided effusion. LEFT apex clear; tip in the left atrium, rightward shift. Upright.";
    assert_eq!(swap_laterality(text), swapped);
    assert_eq!(swap_laterality(swapped), text);
    assert_eq!(swap_laterality(""), "");
    assert_eq!(swap_laterality("\u{e9}left \u{e9} left\u{e9} left"), "\u{e9}left \u{e9} left\u{e9} right");
}

#[test]
fn a_cleaned_report_survives_the_vocabulary() {
    let report = clean("The heart is normal in size. The lungs are clear.", CleaningRules::MimicCxr);
    let vocabulary = Vocabulary::build([report.as_str()].into_iter(), 1);
    assert_eq!(vocabulary.decode(&vocabulary.encode(&report, 100)), report);
}
