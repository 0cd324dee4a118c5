//! Holds ARCHITECTURE.md against the code: floors, pure crates, one crate per outside library, long files, no examples that nobody
//! runs, no second names in what is packed.
//!
//! There is nothing to call here; the tests are the crate.

#[cfg(test)]
mod aliases;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod floors;
#[cfg(test)]
mod outside;
#[cfg(test)]
mod purity;
#[cfg(test)]
mod sizes;
#[cfg(test)]
mod unacted;
#[cfg(test)]
mod workspace;
