//! Who says what in drover: authorities of regions, the certificates they issue, and how a presented certificate is read.
//!
//! A library without network, files or a clock: certificates and keys come and go as PEM or DER, the time is an argument.
//! Randomness (keys, serial numbers, secrets) comes from the operating system through `ring`.
//!
//! A federation has one root; each region holds an intermediate that can name nobody outside its region; machines hold short-lived
//! leaves below it. What a leaf says is an [`Identity`]: region, role and node.
//!
//! People may bring an authority of their own instead ([`own`], [`own_authority`]): its certificates state region and role, and
//! each machine says by a key of its own which node it is ([`node_key`]).

pub mod anchors;
pub mod authority;
pub mod facts;
pub mod identity;
pub mod join_token;
pub mod key;
pub mod leaf;
pub mod node_key;
pub mod own;
pub mod own_authority;
pub mod presented;
pub mod region;
pub mod secret;

mod der;

pub use anchors::{Anchors, Fingerprint};
pub use authority::{Authority, AuthorityPem, Lifetimes};
pub use identity::{Identity, Role};
pub use join_token::JoinToken;
pub use key::{KeyPair, PublicKey};
pub use leaf::{Credentials, Leaf};
pub use node_key::NodeKey;
pub use own::{Holder, OwnCertificate};
pub use region::RegionName;
pub use secret::Secret;
