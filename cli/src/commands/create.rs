//! `rvm create`, and what `rvm run` has of it.

use rvm_engine::Engine;
use rvm_engine::container::Container;
use rvm_engine::lifecycle::CreateRequest;
use rvm_engine::options::health::Parts;
use rvm_engine::options::label::{self, Labels};
use rvm_engine::options::limits::Limits;
use rvm_engine::options::memory::Memory;
use rvm_engine::root::Root;

use super::environment;
use super::images::pull;
use crate::arguments_create::{self, ContainerOptions, Create, GoDuration, Health};
use crate::cidfile::CidFile;
use crate::failure::Failure;
use crate::help;

pub fn run(root: Root, command: Create) -> Result<u8, Failure> {
    let engine = Engine::open(root).map_err(|error| Failure::from(error).with_code(125))?;
    let container = create(&engine, command.container)?;
    println!("{}", container.id);
    Ok(0)
}

/// Makes a container, and fetches its image before if that is wanted.
pub fn create(engine: &Engine, options: ContainerOptions) -> Result<Container, Failure> {
    let (policy, quiet) = (options.pull, options.quiet);
    let cidfile = options.guest.cidfile.clone();
    let request = request(options)?;
    pull::before_run(engine.root(), &request.image, policy, quiet)
        .map_err(|failure| failure.with_code(125))?;
    let cidfile = cidfile.as_deref().map(CidFile::make).transpose()?;
    let container = engine.create(request)?;
    if let Some(file) = cidfile {
        file.write(container.id.as_str())?;
    }
    Ok(container)
}

fn request(options: ContainerOptions) -> Result<CreateRequest, Failure> {
    let mut words = options.words.into_iter();
    let image = options.image.or_else(|| words.next());
    let see = || format!("See '{}'", help::of_typed());
    let image = image.ok_or_else(|| {
        Failure::new(
            125,
            format!("a container needs an image: name one\n\n{}", see()),
        )
    })?;
    // Whatever stands where the image should, and has a hyphen in front, was meant as an option.
    if image.starts_with('-') {
        return Err(Failure::new(
            125,
            format!("unknown flag: {image}\n\n{}", see()),
        ));
    }
    Ok(CreateRequest {
        image,
        command: words.collect(),
        name: options.name,
        entrypoint: options.entrypoint,
        env: environment(&options.environment)
            .map_err(|error| Failure::from(error).with_code(125))?,
        working_dir: options.workdir,
        user: options.user,
        hostname: options.hostname,
        tty: options.tty,
        open_stdin: options.interactive,
        auto_remove: options.rm,
        read_only: options.read_only,
        isolation: options.isolation,
        runtime: options.runtime,
        memory: options.memory,
        cpus: options.cpus,
        network: options.network.into(),
        publish: options
            .publish
            .into_iter()
            .flat_map(|published| published.0)
            .collect(),
        log: options.log.options()?,
        kernel: options.kernel,
        no_template: options.no_template,
        labels: labels(&options.labels).map_err(|failure| failure.with_code(125))?,
        stop_signal: options.life.stop_signal,
        stop_timeout: options.life.stop_timeout,
        restart: options.life.restart,
        limits: Limits {
            cpu_shares: options.shares.cpu_shares,
            memory_reservation: options.shares.memory_reservation,
            ..Limits::default()
        },
        health_check: health_check(&options.health),
        guest: options.guest.options()?,
        storage_size: storage_size(&options.storage_opt)?,
    })
}

fn health_check(options: &Health) -> Parts {
    if options.no_healthcheck {
        return Parts::none();
    }
    let nanoseconds = |time: Option<GoDuration>| {
        time.map(|time| time.0.as_nanos().try_into().unwrap_or(u64::MAX))
    };
    Parts {
        test: options
            .health_cmd
            .clone()
            .map(Parts::shell)
            .unwrap_or_default(),
        interval: nanoseconds(options.health_interval),
        timeout: nanoseconds(options.health_timeout),
        start_period: nanoseconds(options.health_start_period),
        start_interval: nanoseconds(options.health_start_interval),
        retries: options.health_retries,
    }
}

/// The one storage option that there is.
fn storage_size(options: &[String]) -> Result<Option<Memory>, Failure> {
    let mut size = None;
    for option in options {
        match option.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("size") => {
                let parsed = value.parse::<Memory>();
                size = Some(parsed.map_err(|error| Failure::new(125, error.to_string()))?);
            }
            _ => {
                return Err(Failure::new(
                    125,
                    format!("unknown storage option '{option}': there is size=BYTES"),
                ));
            }
        }
    }
    Ok(size)
}

/// The labels: those of the files first, so that options win.
fn labels(arguments: &arguments_create::Labels) -> Result<Labels, Failure> {
    let mut labels = Labels::new();
    for file in &arguments.label_file {
        labels.extend(label::from_file(file)?);
    }
    for text in &arguments.label {
        labels.extend([label::from_option(text)?]);
    }
    Ok(labels)
}
