# Everything a newcomer needs. Each target does its set-up itself, and doing it twice does nothing the second time.

PREFIX ?= /usr/local
BUILD := $(CURDIR)/build
LIB := $(BUILD)/lib/rvm
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rvm
TARGET := x86_64-unknown-linux-gnu

.PHONY: all setup build kernel agent programs images demo test lint bench install clean
all: build

setup:
	@tests/setup

build: kernel agent programs

kernel: setup
	@mkdir -p $(LIB)
	@guest-kernel/build --output $(LIB)/vmlinux >/dev/null

# Static programs, in a target folder of their own because their flags differ: the agent for the guest and for sandboxes on the host,
# and what 'rvm bench' runs in containers.
agent: setup
	@mkdir -p $(LIB)
	RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" cargo build --locked --profile agent --target $(TARGET) \
		--target-dir target/agent -p container-agent -p rvm-rootless -p rvm-workload
	@install -m 755 target/agent/$(TARGET)/agent/rvm-workload $(LIB)/rvm-workload
	@install -m 755 -t $(LIB) target/agent/$(TARGET)/agent/rvm-agent target/agent/$(TARGET)/agent/rvm-rootless
	@container-agent/mkinitramfs $(LIB)/rvm-agent $(LIB)/initramfs.cpio

# There is a monitor and a VMM for each container: without shared libraries they start sooner and have fewer pages of their own.
STATIC := -C target-feature=+crt-static
programs: setup
	cargo build --locked --release -p rvm-cli --bin rvm
	cargo rustc --locked --release -p rvm-cli --bin rvm-monitor -- $(STATIC)
	cargo rustc --locked --release -p rvm-vmm --bin rvm-vmm -- $(STATIC)
	@mkdir -p $(BUILD)/bin $(LIB)
	@install -m 755 target/release/rvm $(BUILD)/bin/rvm
	@install -m 755 target/release/rvm-vmm target/release/rvm-monitor $(LIB)

images: setup programs
	@for name in busybox nginx; do tests/images/make $$name $(CACHE)/images && \
		$(BUILD)/bin/rvm load -q -i $(CACHE)/images/$$name.oci.tar; done

demo: build images
	@tests/demo

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

test: build
	@for name in busybox nginx; do tests/images/make $$name $(CACHE)/images; done
	RVM_BUILD=$(BUILD) RVM_IMAGES=$(CACHE)/images cargo test --locked --workspace
	RVM_BUILD=$(BUILD) RVM_IMAGES=$(CACHE)/images RVM_TEST_ISOLATION=container cargo test --locked -p rvm-tests --test rvm

bench: build images
	@tests/setup podman docker.io
	@tests/bench/run

install: build
	install -D -m 755 $(BUILD)/bin/rvm $(DESTDIR)$(PREFIX)/bin/rvm
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/lib/rvm $(LIB)/rvm-vmm $(LIB)/rvm-monitor $(LIB)/rvm-agent $(LIB)/rvm-rootless $(LIB)/rvm-workload
	install -D -m 644 $(LIB)/vmlinux $(DESTDIR)$(PREFIX)/lib/rvm/vmlinux
	install -D -m 644 $(LIB)/initramfs.cpio $(DESTDIR)$(PREFIX)/lib/rvm/initramfs.cpio
	$(BUILD)/bin/rvm man $(DESTDIR)$(PREFIX)/share/man/man1
	@mkdir -p $(addprefix $(DESTDIR)$(PREFIX)/share/,bash-completion/completions zsh/site-functions fish/vendor_completions.d)
	$(BUILD)/bin/rvm completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/rvm
	$(BUILD)/bin/rvm completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_rvm
	$(BUILD)/bin/rvm completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/rvm.fish

clean:
	rm -rf $(BUILD) target
