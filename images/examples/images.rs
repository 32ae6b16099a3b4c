//! Brings images in and shows their layers' file systems: `images ROOT load PATH|-`, `images ROOT pull NAME`,
//! `images ROOT layers NAME [MAX]`.

use std::error::Error;
use std::path::Path;

use rvm_images::registry::PullOptions;
use rvm_images::{LoadOptions, Silent, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [root, "load", "-"] => {
            show(Store::open(root)?.load_stream(std::io::stdin(), &LoadOptions::default())?)
        }
        [root, "load", path] => {
            show(Store::open(root)?.load(Path::new(path), &LoadOptions::default())?)
        }
        [root, "pull", name] => {
            let pulled =
                Store::open(root)?.pull(&name.parse()?, &PullOptions::default(), &Silent)?;
            show(vec![pulled])
        }
        [root, "rm", name] => show(vec![Store::open(root)?.remove(name)?]),
        [root, "list"] => show(
            Store::open(root)?
                .list()?
                .into_iter()
                .map(|l| (l.reference, l.image.id))
                .collect(),
        ),
        [root, "layers", name, ref max @ ..] => {
            let store = Store::open(root)?;
            let max = max.first().map_or(Ok(usize::MAX), |max| max.parse())?;
            for layer in store.layer_images(&store.resolve(name)?, max)? {
                println!("{}", layer.path.display());
            }
        }
        _ => {
            return Err(
                "usage: images ROOT load PATH|- | pull NAME | layers NAME [MAX] | list | rm NAME"
                    .into(),
            );
        }
    }
    Ok(())
}

fn show<T: std::fmt::Debug>(list: Vec<T>) {
    list.iter().for_each(|item| println!("{item:?}"));
}
