//! Proofs hold for one secret, one connection, one pair of peers and one role.

use super::*;

const EXPORTER: [u8; 32] = [0x11; 32];
const CLIENT: PeerName = PeerName::from_bytes([0x22; 32]);
const SERVER: PeerName = PeerName::from_bytes([0x33; 32]);

#[test]
fn both_sides_of_one_connection_convince_each_other() {
    let (at_client, at_server) = (admission(), admission());
    assert_eq!(at_server.verify(Role::Client, &at_client.proof(Role::Client)), Ok(()));
    assert_eq!(at_client.verify(Role::Server, &at_server.proof(Role::Server)), Ok(()));
}

#[test]
fn a_proof_sent_back_to_its_maker_fails() {
    let admission = admission();
    for role in [Role::Client, Role::Server] {
        assert_eq!(admission.verify(role.other(), &admission.proof(role)), Err(WrongSecret));
    }
}

#[test]
fn a_proof_of_other_inputs_fails() {
    let other_secret = ClusterSecret::from_entropy([6; 32]);
    let others = [
        ("secret", Admission::new(&other_secret, &EXPORTER, CLIENT, SERVER)),
        ("connection", Admission::new(&secret(), &[0x12; 32], CLIENT, SERVER)),
        ("client", Admission::new(&secret(), &EXPORTER, SERVER, SERVER)),
        ("server", Admission::new(&secret(), &EXPORTER, CLIENT, CLIENT)),
        ("swapped names", Admission::new(&secret(), &EXPORTER, SERVER, CLIENT)),
    ];
    for (what, other) in others {
        for role in [Role::Client, Role::Server] {
            assert_eq!(admission().verify(role, &other.proof(role)), Err(WrongSecret), "{what}");
        }
    }
}

#[test]
fn every_flipped_bit_of_a_proof_is_noticed() {
    let proof = *admission().proof(Role::Client).as_bytes();
    for bit in 0..256 {
        let mut flipped = proof;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let flipped = Proof::from_bytes(flipped);
        assert_eq!(admission().verify(Role::Client, &flipped), Err(WrongSecret));
    }
}

/// Made with another implementation of HMAC, from the protocol text.
#[test]
fn golden_proofs() {
    let secret = ClusterSecret::from_entropy(std::array::from_fn(|i| u8::try_from(i).unwrap()));
    let admission = Admission::new(&secret, &EXPORTER, CLIENT, SERVER);
    let golden = [
        (Role::Client, "609187a364f60f9d5635660698f60d9eb9e103ac409fa0fc2d5f0600abec8a78"),
        (Role::Server, "659930a0dd7294c0a1d44d0620eec62492597d13d1d55eeca15de8b5997852c1"),
    ];
    for (role, golden) in golden {
        assert_eq!(*admission.proof(role).as_bytes(), crate::hex::decode(golden).unwrap());
    }
}

#[test]
fn proofs_are_erased_and_not_shown() {
    crate::assert_zeroized_on_drop::<Admission>();
    let shown = format!("{:?} {:?}", admission(), admission().proof(Role::Client));
    assert_eq!(shown, "Admission(..) Proof(..)");
}

fn secret() -> ClusterSecret {
    ClusterSecret::from_entropy([5; 32])
}

fn admission() -> Admission {
    Admission::new(&secret(), &EXPORTER, CLIENT, SERVER)
}
