//! How many connections come from each address: one caller must not take the places of all others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The counts. Copies are the same ones.
#[derive(Clone, Default)]
pub(crate) struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A place among those of an address, free again when this is dropped.
pub(crate) struct AddressSeat {
    addresses: Addresses,
    address: IpAddr,
}

impl Addresses {
    /// A place for one more from `address`, unless there are `max` already.
    pub(crate) fn take(&self, address: IpAddr, max: usize) -> Option<AddressSeat> {
        // An IPv4 caller on a socket for both kinds is the same caller.
        let address = address.to_canonical();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= max {
            if *count == 0 {
                counts.remove(&address);
            }
            return None;
        }
        *count += 1;
        Some(AddressSeat { addresses: self.clone(), address })
    }
}

impl Drop for AddressSeat {
    fn drop(&mut self) {
        let mut counts = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_per_address_and_come_back() {
        let addresses = Addresses::default();
        let (one, other): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let held: Vec<AddressSeat> = (0..2).map(|_| addresses.take(one, 2).unwrap()).collect();
        assert!(addresses.take(one, 2).is_none());
        assert!(addresses.take("::ffff:10.0.0.1".parse().unwrap(), 2).is_none());
        assert!(addresses.take(other, 2).is_some());
        drop(held);
        assert!(addresses.take(one, 2).is_some());
        assert!(addresses.take(one, 0).is_none());
        assert!(addresses.0.lock().unwrap().is_empty());
    }
}
