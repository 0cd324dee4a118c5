//! Address blocks, IPv4 and IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Answer, Fault, Function, fixed, num, open, string, text_at, whole_at};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("cidrhost", &[string("prefix"), num("hostnum")], |a, _| host(a)),
    fixed("cidrnetmask", &[string("prefix")], |a, _| {
        let block = Block::parse(text_at(a, 0))?;
        Ok(block.address(block.mask()).to_string().into())
    }),
    fixed("cidrsubnet", &[string("prefix"), num("newbits"), num("netnum")], |a, _| subnet(a)),
    open("cidrsubnets", &[string("prefix")], num("newbits"), |a, _| subnets(a)),
];

/// A block: the bits of its first address, at the low end of the number, and how many of them are fixed.
#[derive(Clone, Copy)]
struct Block {
    bits: u128,
    prefix: u32,
    /// 32 or 128.
    width: u32,
}

impl Block {
    fn parse(text: &str) -> Result<Block, Fault> {
        Block::parse_strict(text)
            .ok_or_else(|| Fault::Call(format!("invalid CIDR expression: invalid CIDR address: {text}")))
    }

    fn parse_strict(text: &str) -> Option<Block> {
        let (address, prefix) = text.split_once('/')?;
        let (bits, width) = match address.parse().ok()? {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let is_number = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix: u32 = prefix.parse().ok().filter(|prefix| is_number && *prefix <= width)?;
        let block = Block { bits, prefix, width };
        Some(Block { bits: bits & block.mask(), ..block })
    }

    fn all_ones(self) -> u128 {
        u128::MAX >> (128 - self.width)
    }

    fn mask(self) -> u128 {
        self.all_ones() & !self.host_mask()
    }

    fn host_mask(self) -> u128 {
        // A shift by the full width is no shift, so the full prefix is its own case.
        if self.prefix == self.width { 0 } else { self.all_ones() >> self.prefix }
    }

    fn address(self, bits: u128) -> IpAddr {
        match self.width {
            // The width says that the bits fit.
            32 => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
            _ => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        }
    }

    fn text(self) -> String {
        format!("{}/{}", self.address(self.bits), self.prefix)
    }
}

fn host(arguments: &[Value]) -> Answer {
    let block = Block::parse(text_at(arguments, 0))?;
    let number = whole_at(arguments, 1)?;
    let last = block.host_mask();
    let distance = u128::from(number.unsigned_abs());
    let offset = match number >= 0 {
        true => Some(distance).filter(|offset| *offset <= last),
        false => last.checked_sub(distance - 1),
    };
    let Some(offset) = offset else {
        return Fault::call(format!("prefix of {} does not accommodate a host numbered {number}", block.prefix));
    };
    Ok(block.address(block.bits | offset).to_string().into())
}

fn longer(block: Block, new_bits: i64, place: usize) -> Result<u32, Fault> {
    let new_bits = match u32::try_from(new_bits) {
        Ok(new_bits) if new_bits <= 128 => new_bits,
        _ => return Fault::argument(place, "must extend prefix by a whole number of bits"),
    };
    let prefix = block.prefix + new_bits;
    match prefix <= block.width {
        true => Ok(prefix),
        false => Fault::call(format!("insufficient address space to extend prefix of {} by {new_bits}", block.prefix)),
    }
}

fn subnet(arguments: &[Value]) -> Answer {
    let block = Block::parse(text_at(arguments, 0))?;
    let new_bits = whole_at(arguments, 1)?;
    let prefix = longer(block, new_bits, 1)?;
    let number = whole_at(arguments, 2)?;
    let too_large =
        || Fault::Call(format!("prefix extension of {new_bits} does not accommodate a subnet numbered {number}"));
    let net = u128::try_from(number).map_err(|_| too_large())?;
    let extended = prefix - block.prefix;
    if extended < 128 && net >> extended != 0 {
        return Err(too_large());
    }
    let shift = block.width - prefix;
    let bits = block.bits | net.checked_shl(shift).unwrap_or(0);
    Ok(Block { bits, prefix, ..block }.text().into())
}

fn subnets(arguments: &[Value]) -> Answer {
    let block = Block::parse(text_at(arguments, 0))?;
    let end = block.bits | block.host_mask();
    let mut next = Some(block.bits);
    let mut out = Vec::new();
    for place in 1..arguments.len() {
        let prefix = longer(block, whole_at(arguments, place)?, place)?;
        let size_mask = Block { prefix, ..block }.host_mask();
        // The next free address, moved up to where a block of this size may begin.
        let start = next.and_then(|next| next.checked_add(size_mask)).map(|start| start & !size_mask);
        let Some(start) = start.filter(|start| (start | size_mask) <= end) else {
            return Fault::call(format!(
                "not enough remaining address space for a subnet with a prefix of {prefix} bits"
            ));
        };
        out.push(Value::String(Block { bits: start, prefix, ..block }.text()));
        next = (start | size_mask).checked_add(1);
    }
    Ok(Value::List(out))
}
