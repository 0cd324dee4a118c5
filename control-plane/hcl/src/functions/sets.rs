//! Functions that treat their arguments as sets.

use std::collections::BTreeSet;

use super::{Answer, Context, Fault, Function, any, open};
use crate::evaluate::units_of;
use crate::types::{set_of, unify_values};
use crate::value::Value;

/// Most rows of a product.
const PRODUCT_ROWS_MAX: usize = 100_000;

pub(super) const FUNCTIONS: &[Function] = &[
    open("setintersection", &[any("first_set")], any("other_sets"), |a, _| {
        let mut sets = unified(a)?.into_iter();
        let first = sets.next().unwrap_or_default();
        let common = sets.fold(first, |common, next| common.intersection(&next).cloned().collect());
        Ok(set_of(common))
    }),
    open("setproduct", &[], any("sets"), product),
    open("setunion", &[any("first_set")], any("other_sets"), |a, _| Ok(set_of(unified(a)?.into_iter().flatten()))),
];

/// All arguments as sets, with one type over all of them.
fn unified(arguments: &[Value]) -> Result<Vec<BTreeSet<Value>>, Fault> {
    let mut sizes = Vec::new();
    let mut all = Vec::new();
    for (place, argument) in arguments.iter().enumerate() {
        let Some(items) = argument.as_items() else {
            return Fault::argument(
                place,
                format!("set of any single type required, but have {}", argument.type_name()),
            );
        };
        sizes.push(items.len());
        all.extend(items.iter().cloned());
    }
    let Some(all) = unify_values(all) else {
        return Fault::call("given sets must all have compatible element types");
    };
    let mut items = all.into_iter();
    Ok(sizes.into_iter().map(|size| items.by_ref().take(size).collect()).collect())
}

fn product(arguments: &[Value], context: &mut Context) -> Answer {
    if arguments.len() < 2 {
        return Fault::call("at least two arguments are required");
    }
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    let mut are_sets = true;
    for (place, argument) in arguments.iter().enumerate() {
        are_sets &= matches!(argument, Value::Set(_));
        let Some(items) = argument.as_items() else {
            return Fault::argument(place, "a set or a list is required");
        };
        if rows.len().saturating_mul(items.len()) > PRODUCT_ROWS_MAX {
            return Fault::call(format!("the result would have more than {PRODUCT_ROWS_MAX} elements"));
        }
        // Items are copied: each counts with all that it holds.
        let held: usize = items.iter().chain(rows.iter().flatten()).map(units_of).sum();
        context.spend(held.saturating_mul(rows.len().max(items.len())))?;
        rows = rows
            .iter()
            .flat_map(|row| items.iter().map(move |item| [row.as_slice(), std::slice::from_ref(item)].concat()))
            .collect();
    }
    let rows = rows.into_iter().map(Value::Tuple);
    Ok(if are_sets { set_of(rows) } else { Value::List(rows.collect()) })
}
