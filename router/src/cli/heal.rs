//! `weft heal`: makes two rings one that were founded apart.

use weft_api::peers::{HealReply, HealRequest};
use weft_cni_shim::client::Client;

use super::args::HealArgs;
use super::{Failure, block_on, output, render};

/// Says the word and prints whose nodes move.
pub(super) fn heal(client: &Client, args: &HealArgs) -> Result<(), Failure> {
    let request = HealRequest { peer: args.peer.clone() };
    let reply = block_on(async { Ok(client.heal(&request).await?) })?;
    Ok(output::print(&sentences(&reply))?)
}

fn sentences(reply: &HealReply) -> String {
    let peer = render::name(&reply.peer.peer, &reply.peer.nickname);
    let which = if reply.moves {
        format!("the nodes of this ring move to the ring of {peer}")
    } else {
        format!("the nodes of the ring of {peer} move to this one")
    };
    format!("{which}; `weft status` on each says how far it is\n")
}

#[cfg(test)]
mod tests {
    use weft_api::status::NamedNode;

    use super::*;

    #[test]
    fn who_moves_is_said() {
        let peer =
            NamedNode { peer: "b1b2c3d4e5".to_owned() + &"0".repeat(54), nickname: "h2".into() };
        let stays = HealReply { peer, moves: false };
        let moves = HealReply { moves: true, ..stays.clone() };
        assert_eq!(
            sentences(&stays),
            "the nodes of the ring of b1b2c3d4e5(h2) move to this one; `weft status` on each says how \
             far it is\n"
        );
        assert!(
            sentences(&moves)
                .starts_with("the nodes of this ring move to the ring of b1b2c3d4e5(h2); ")
        );
    }
}
