//! Names, signatures and what must not verify.

use super::*;
use proptest::prelude::*;

const CONTEXT: &[u8] = b"test context";

#[test]
fn known_answers_of_rfc_8032() {
    // Section 7.1, tests 1 to 3: seed, public key, message, signature.
    let vectors = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ];
    for (seed, name, message, signature) in vectors {
        let identity = Identity::from_seed(crate::hex::decode(seed).unwrap());
        assert_eq!(identity.name().to_string(), name);
        let message = match message {
            "" => vec![],
            "72" => vec![0x72],
            _ => vec![0xaf, 0x82],
        };
        let signed = identity.key.sign(&message).to_bytes();
        assert_eq!(signed, crate::hex::decode::<64>(signature).unwrap());
    }
}

/// Made with OpenSSL over the framing that the protocol text gives.
#[test]
fn a_signature_covers_the_length_of_the_context_the_context_and_the_message() {
    let expected = "d08d764a874baf2f2d68956f2f055889cb0dfb4c1953d68c7985646bc0994cbdbb590547d64c4b782fa03f53747d06ae0561107d81925abbb78f171fe2dce401";
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let identity = Identity::from_seed(crate::hex::decode(seed).unwrap());

    let signature = identity.sign(CONTEXT, b"message");

    assert_eq!(*signature.as_bytes(), crate::hex::decode::<64>(expected).unwrap());
}

#[test]
fn a_signature_holds_for_its_signer_context_and_message_only() {
    let identity = Identity::from_seed([1; 32]);
    let signature = identity.sign(CONTEXT, b"message");

    let verify = |name: PeerName, context, message| name.verify(context, message, &signature);
    assert_eq!(verify(identity.name(), CONTEXT, b"message"), Ok(()));
    assert_eq!(verify(identity.name(), CONTEXT, b"massage"), Err(BadSignature));
    assert_eq!(verify(identity.name(), b"test", b"message"), Err(BadSignature));
    // The same bytes, cut elsewhere.
    assert_eq!(verify(identity.name(), b"test context", b"message"), Ok(()));
    assert_eq!(verify(identity.name(), b"test contextm", b"essage"), Err(BadSignature));
    assert_eq!(verify(Identity::from_seed([2; 32]).name(), CONTEXT, b"message"), Err(BadSignature));
}

#[test]
fn a_key_of_small_order_verifies_nothing() {
    // The neutral element: without the strict check, the zero signature below verifies for every message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;

    let name = PeerName::from_bytes(neutral);

    let signature = Signature::from_bytes(signature);
    assert_eq!(name.verify(CONTEXT, b"message", &signature), Err(BadSignature));
}

#[test]
fn texts_of_a_name() {
    let name = PeerName::from_bytes(std::array::from_fn(|i| u8::try_from(i).unwrap() + 0xa0));

    assert_eq!(name.short(), "a0a1a2a3a4");
    assert_eq!(format!("{name:?}"), "a0a1a2a3a4");
    assert_eq!(name.to_string().len(), 64);
    assert_eq!(name.to_string().parse(), Ok(name));
    assert_eq!(name.to_string().to_uppercase().parse(), Ok(name));
    for bad in
        ["", "a0a1a2a3a4", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65), &"é".repeat(32)]
    {
        assert_eq!(bad.parse::<PeerName>(), Err(ParsePeerNameError), "{bad}");
    }
}

#[test]
fn an_identity_keeps_its_seed_to_itself() {
    let identity = Identity::from_seed([0xcd; 32]);

    assert_eq!(identity.seed(), &[0xcd; 32]);
    assert!(!format!("{identity:?}").contains("cdcd"));
    crate::assert_zeroized_on_drop::<Identity>();
}

proptest! {
    #[test]
    fn any_bytes_as_key_and_signature_are_judged_without_panic(
        name in any::<[u8; 32]>(), signature in any::<[[u8; 32]; 2]>(), message in any::<Vec<u8>>()
    ) {
        let signature = Signature::from_bytes(signature.concat().try_into().unwrap());
        prop_assert!(PeerName::from_bytes(name).verify(CONTEXT, &message, &signature).is_err());
    }

    #[test]
    fn any_text_is_parsed_without_panic(text in ".{0,80}") {
        let _ = text.parse::<PeerName>();
    }
}

#[test]
fn local_keys_are_stable_and_apart() {
    let identity = Identity::from_seed([7; 32]);
    let again = Identity::from_seed([7; 32]);
    assert_eq!(identity.local_key(b"a"), again.local_key(b"a"));
    assert_ne!(identity.local_key(b"a"), identity.local_key(b"b"));
    assert_ne!(identity.local_key(b"a"), Identity::from_seed([8; 32]).local_key(b"a"));
    assert_ne!(identity.local_key(b"a").as_slice(), identity.seed());
}
