//! Every backend against published answers, against every other backend, and against tampering.

use super::*;

const SUITES: [Suite; 2] = Suite::ALL;

/// Published answers: suite, key, nonce, associated data, plaintext, ciphertext, tag.
const KNOWN: [(Suite, [&str; 6]); 6] = [
    // RFC 8439, section 2.8.2.
    (
        Suite::ChaCha20Poly1305,
        [
            "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
            "070000004041424344454647",
            "50515253c0c1c2c3c4c5c6c7",
            "4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a204966204920636f756c64\
             206f6666657220796f75206f6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73637265656e20776f\
             756c642062652069742e",
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a\
             9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9d\
             e576d26586cec64b6116",
            "1ae10b594f09e26a7e902ecbd0600691",
        ],
    ),
    // RFC 8439, appendix A.5.
    (
        Suite::ChaCha20Poly1305,
        [
            "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0",
            "000000000102030405060708",
            "f33388860000000000004e91",
            "496e7465726e65742d4472616674732061726520647261667420646f63756d656e74732076616c696420666f722061206d617869\
             6d756d206f6620736978206d6f6e74687320616e64206d617920626520757064617465642c207265706c616365642c206f72206f\
             62736f6c65746564206279206f7468657220646f63756d656e747320617420616e792074696d652e20497420697320696e617070\
             726f70726961746520746f2075736520496e7465726e65742d447261667473206173207265666572656e6365206d617465726961\
             6c206f7220746f2063697465207468656d206f74686572207468616e206173202fe2809c776f726b20696e2070726f6772657373\
             2e2fe2809d",
            "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0bdb7b73c\
             321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c8559797a06ef4f0ef61\
             c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0\
             a06c523eaf4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a0bb2316053fa76991955ebd63159434e\
             cebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29a6ad5cb4\
             022b02709b",
            "eead9d67890cbb22392336fea1851f38",
        ],
    ),
    // The specification of GCM submitted to NIST (McGrew and Viega), test cases 13 to 16.
    (
        Suite::Aes256Gcm,
        [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "000000000000000000000000",
            "",
            "",
            "",
            "530f8afbc74536b9a963b4f1c4cb738b",
        ],
    ),
    (
        Suite::Aes256Gcm,
        [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "000000000000000000000000",
            "",
            "00000000000000000000000000000000",
            "cea7403d4d606b6e074ec5d3baf39d18",
            "d0d1c8a799996bf0265b98b5d48ab919",
        ],
    ),
    (
        Suite::Aes256Gcm,
        [
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            "",
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5\
             aa0de657ba637b391aafd255",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e63\
             93ba7a0abcc9f662898015ad",
            "b094dac5d93471bdec1a502270e3cc6c",
        ],
    ),
    (
        Suite::Aes256Gcm,
        [
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5\
             aa0de657ba637b39",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e63\
             93ba7a0abcc9f662",
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ],
    ),
];

#[test]
fn known_answers() {
    for (suite, [key, nonce, aad, plaintext, ciphertext, tag]) in KNOWN {
        let key = Zeroizing::new(crate::hex::decode(key).unwrap());
        let nonce = crate::hex::decode(nonce).unwrap();
        let (plaintext, ciphertext) = (bytes(plaintext), bytes(ciphertext));
        for (backend, aead) in backends(suite, &key) {
            let mut buffer = plaintext.clone();
            let made = aead.seal(nonce, &bytes(aad), &mut buffer);
            assert_eq!(made, crate::hex::decode(tag).unwrap(), "{backend} {suite}");
            assert_eq!(buffer, ciphertext, "{backend} {suite}");
            aead.open(nonce, &bytes(aad), &mut buffer, &made).unwrap();
            assert_eq!(buffer, plaintext, "{backend} {suite}");
        }
    }
}

/// All short lengths, and those around what a datagram, a jumbo frame and the longest packet hold; at every alignment.
#[test]
fn backends_give_the_same_bytes_and_open_each_others() {
    let lengths = (0..=2048).chain([4095, 4097, 8900, 16_384, 32_771, 65_503]);
    let plaintext: Vec<u8> =
        (0..65_536_u32).map(|i| i.wrapping_mul(151).to_le_bytes()[0]).collect();
    let key = Zeroizing::new(std::array::from_fn(|i| u8::try_from(i).unwrap()));
    for suite in SUITES {
        let backends = backends(suite, &key);
        assert!(backends.len() > 1);
        for len in lengths.clone() {
            let (nonce, aad) = (nonce(u64::try_from(len).unwrap() << 40 | 5), [7; 16]);
            let at = len % 17;
            let mut sealed: Vec<(Vec<u8>, [u8; TAG_LEN])> = Vec::new();
            for (_, aead) in &backends {
                let mut buffer = plaintext[..at + len].to_vec();
                let tag = aead.seal(nonce, &aad, &mut buffer[at..]);
                sealed.push((buffer, tag));
            }
            for ((backend, aead), (buffer, tag)) in backends.iter().zip(&sealed) {
                // Not assert_eq: a failure would print 64 KiB.
                assert!((buffer, tag) == (&sealed[0].0, &sealed[0].1), "{backend} {suite} {len}");
                let mut buffer = sealed[0].0.clone();
                aead.open(nonce, &aad, &mut buffer[at..], tag).unwrap();
                assert!(buffer == plaintext[..at + len], "{backend} {suite} {len}");
            }
        }
    }
}

#[test]
fn every_part_is_authenticated_by_every_backend() {
    for suite in SUITES {
        for (backend, aead) in backends(suite, &Zeroizing::new([3; KEY_LEN])) {
            for len in [0, 1, 15, 16, 17, 63, 64, 65, 300] {
                every_flipped_bit_is_noticed(&*aead, len, &format!("{backend} {suite} {len}"));
            }
        }
    }
}

fn every_flipped_bit_is_noticed(aead: &dyn Aead, len: usize, name: &str) {
    let (nonce, aad) = (nonce(5), *b"header");
    let mut sealed = vec![9; len];
    let tag = aead.seal(nonce, &aad, &mut sealed);
    let check = |nonce, aad: [u8; 6], mut sealed: Vec<u8>, tag: [u8; TAG_LEN], what: &str| {
        let opened = aead.open(nonce, &aad, &mut sealed, &tag);
        assert_eq!(opened.is_ok(), what == "nothing", "{name}, altered: {what}");
    };

    check(nonce, aad, sealed.clone(), tag, "nothing");
    for bit in 0..NONCE_LEN * 8 {
        check(flip(nonce, bit), aad, sealed.clone(), tag, "nonce");
    }
    for bit in 0..aad.len() * 8 {
        check(nonce, flip(aad, bit), sealed.clone(), tag, "associated data");
    }
    for bit in 0..TAG_LEN * 8 {
        check(nonce, aad, sealed.clone(), flip(tag, bit), "tag");
    }
    for bit in 0..len * 8 {
        let mut altered = sealed.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        check(nonce, aad, altered, tag, "ciphertext");
    }
}

#[test]
fn another_key_or_suite_opens_nothing() {
    for suite in SUITES {
        for (backend, aead) in backends(suite, &Zeroizing::new([3; KEY_LEN])) {
            let mut sealed = [9; 40];
            let tag = aead.seal(nonce(5), b"", &mut sealed);
            for (other_suite, key) in [(suite, [4; KEY_LEN]), (other(suite), [3; KEY_LEN])] {
                for (_, stranger) in backends(other_suite, &Zeroizing::new(key)) {
                    let opened = stranger.open(nonce(5), b"", &mut sealed.clone(), &tag);
                    assert_eq!(opened, Err(OpenError::Forged), "{backend} {suite}");
                }
            }
        }
    }
}

#[test]
fn the_preference_is_the_measured_one() {
    use AesUnit::{Single, Software, Wide256, Wide512};
    for unit in [Software, Single, Wide512] {
        assert_eq!(Backend::choose(Suite::Aes256Gcm, unit), Backend::AwsLc);
    }
    assert_eq!(Backend::choose(Suite::Aes256Gcm, Wide256), Backend::Ring);
    for unit in [Software, Single, Wide256, Wide512] {
        let chosen = Backend::choose(Suite::ChaCha20Poly1305, unit);
        assert_eq!(chosen, if HAS_ASSEMBLY { Backend::AwsLc } else { Backend::Portable });
        for suite in SUITES {
            let chosen = Backend::choose(suite, unit);
            assert!(
                chosen.with_key(suite, &Zeroizing::new([0; KEY_LEN])).is_some(),
                "{chosen} {suite}"
            );
        }
    }
    for suite in SUITES {
        assert_eq!(Backend::for_suite(suite), Backend::choose(suite, AesUnit::detect()));
    }
}

#[test]
fn the_portable_cipher_erases_its_key() {
    crate::assert_zeroized_on_drop::<chacha20poly1305::ChaCha20Poly1305>();
}

fn backends(suite: Suite, key: &Zeroizing<[u8; KEY_LEN]>) -> Vec<(Backend, Box<dyn Aead>)> {
    let all = Backend::ALL.into_iter();
    all.filter_map(|backend| Some((backend, backend.with_key(suite, key)?))).collect()
}

fn other(suite: Suite) -> Suite {
    match suite {
        Suite::ChaCha20Poly1305 => Suite::Aes256Gcm,
        Suite::Aes256Gcm => Suite::ChaCha20Poly1305,
    }
}

fn flip<const N: usize>(mut bytes: [u8; N], bit: usize) -> [u8; N] {
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

fn bytes(hex: &str) -> Vec<u8> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    assert!(rest.is_empty());
    pairs
        .iter()
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
