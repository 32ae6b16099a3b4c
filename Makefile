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

# A static program for the guest, in a target folder of its own because its flags differ.
agent: setup
	@mkdir -p $(LIB)
	RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" cargo build --locked --profile agent --target $(TARGET) \
		--target-dir target/agent -p container-agent
	@container-agent/mkinitramfs target/agent/$(TARGET)/agent/rvm-agent $(LIB)/initramfs.cpio

programs: setup
	cargo build --locked --release -p rvm-cli -p rvm-vmm
	@mkdir -p $(BUILD)/bin $(LIB)
	@install -m 755 target/release/rvm $(BUILD)/bin/rvm
	@install -m 755 target/release/rvm-vmm $(LIB)/rvm-vmm

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

bench: build images
	@tests/bench/run

install: build
	install -D -m 755 $(BUILD)/bin/rvm $(DESTDIR)$(PREFIX)/bin/rvm
	install -D -m 755 $(LIB)/rvm-vmm $(DESTDIR)$(PREFIX)/lib/rvm/rvm-vmm
	install -D -m 644 $(LIB)/vmlinux $(DESTDIR)$(PREFIX)/lib/rvm/vmlinux
	install -D -m 644 $(LIB)/initramfs.cpio $(DESTDIR)$(PREFIX)/lib/rvm/initramfs.cpio

clean:
	rm -rf $(BUILD) target
