//! ChaCha20-Poly1305 against RFC 8439.

use super::*;

/// RFC 8439, appendix A.5: the published example whose nonce begins with four zero bytes, as all of ours do.
#[test]
fn known_answer_of_rfc_8439() {
    let key = "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0";
    let aead = with_key(Suite::ChaCha20Poly1305, &Zeroizing::new(crate::hex::decode(key).unwrap()));
    let counter = u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8]);
    let aad: [u8; 12] = crate::hex::decode("f33388860000000000004e91").unwrap();
    let plaintext = "Internet-Drafts are draft documents valid for a maximum of six months and may be \
                     updated, replaced, or obsoleted by other documents at any time. It is inappropriate \
                     to use Internet-Drafts as reference material or to cite them other than as \
                     /\u{201c}work in progress./\u{201d}";

    let mut buffer = plaintext.as_bytes().to_vec();
    let tag = aead.seal(counter, &aad, &mut buffer);

    assert_eq!(tag, crate::hex::decode("eead9d67890cbb22392336fea1851f38").unwrap());
    assert_eq!(
        buffer.first_chunk::<16>(),
        Some(&crate::hex::decode("64a0861575861af460f062c79be643bd").unwrap())
    );
    assert_eq!(buffer.last_chunk::<9>(), Some(&crate::hex::decode("a6ad5cb4022b02709b").unwrap()));
    aead.open(counter, &aad, &mut buffer, &tag).unwrap();
    assert_eq!(buffer, plaintext.as_bytes());
}

#[test]
fn every_part_is_authenticated() {
    let aead = with_key(Suite::ChaCha20Poly1305, &Zeroizing::new([3; 32]));
    let mut sealed = *b"plaintext";
    let tag = aead.seal(5, b"header", &mut sealed);
    let open = |aead: &dyn Aead, counter, aad, mut buffer: [u8; 9], tag| {
        aead.open(counter, aad, &mut buffer, tag)
    };

    assert_eq!(open(&*aead, 5, b"header", sealed, &tag), Ok(()));
    assert_eq!(open(&*aead, 6, b"header", sealed, &tag), Err(OpenError::Forged));
    assert_eq!(open(&*aead, 5, b"Header", sealed, &tag), Err(OpenError::Forged));
    assert_eq!(open(&*aead, 5, b"header", *b"PLAINTEXT", &tag), Err(OpenError::Forged));
    assert_eq!(open(&*aead, 5, b"header", sealed, &[0; 16]), Err(OpenError::Forged));
    let other = with_key(Suite::ChaCha20Poly1305, &Zeroizing::new([4; 32]));
    assert_eq!(open(&*other, 5, b"header", sealed, &tag), Err(OpenError::Forged));
}

#[test]
fn the_cipher_erases_its_key() {
    crate::assert_zeroized_on_drop::<chacha20poly1305::ChaCha20Poly1305>();
}
