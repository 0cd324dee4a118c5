//! What commands do to the noun of this file: join_token.

use drover_model::JoinTokenId;

use super::*;
use crate::Refusal;
use crate::join_token::JoinToken;

fn token(number: u8, uses_left: Option<u32>) -> JoinToken {
    let id = JoinTokenId::from([number; 16]);
    JoinToken { id, secret_hash: [7; 32], uses_left, expires_at: at(100), ..JoinToken::default() }
}

#[test]
fn a_token_is_spent_use_by_use() {
    let mut region = Region::default();
    region.run(Command::AddJoinToken { token: Box::new(token(1, Some(2))) });
    region.run(Command::AddJoinToken { token: Box::new(token(2, None)) });
    let mut check = |number: u8, secret: u8, second: u64, expected: bool| {
        let id = JoinTokenId::from([number; 16]);
        let (answer, _) = region.run(Command::SpendJoinToken { id, secret_hash: [secret; 32], at: at(second) });
        assert_eq!(answer, if expected { Answer::Done } else { Answer::Refused(Refusal::JoinToken) });
    };
    check(1, 6, 50, false);
    check(1, 7, 100, false);
    check(1, 7, 50, true);
    check(1, 7, 50, true);
    check(1, 7, 50, false);
    check(2, 7, 50, true);
    check(2, 7, 50, true);
    check(3, 7, 50, false);
}

#[test]
fn tokens_that_admit_nobody_make_room() {
    let mut region = Region::default();
    region.run(Command::AddJoinToken { token: Box::new(token(1, Some(0))) });
    let events = region.run(Command::AddJoinToken { token: Box::new(token(2, Some(1))) }).1;
    assert_eq!(events.changes, [Change::JoinTokens]);
    assert_eq!(region.state.join_tokens().count(), 1);
    let ids = vec![JoinTokenId::from([2; 16])];
    region.run(Command::RemoveJoinTokens { ids });
    assert_eq!(region.state.join_tokens().count(), 0);
}
