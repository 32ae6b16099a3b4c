# busybox: Debian's busybox-static alone, laid out as Docker's image of that name.

packages() { echo busybox-static; }

build() {
    local work=$1 root=$1/root applet
    (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download busybox-static >&2 && dpkg-deb -x busybox-static_*.deb package)
    mkdir -p "$root"/{bin,dev,etc,home,root,tmp,usr/bin,usr/sbin,var/spool/mail,var/www}
    chmod 0755 "$root"/{,bin,dev,etc,home,usr,usr/bin,usr/sbin,var,var/spool,var/spool/mail,var/www}
    chmod 0700 "$root/root"
    chmod 1777 "$root/tmp"
    install -m 0755 "$work/package/bin/busybox" "$root/bin/busybox"
    for applet in $("$root/bin/busybox" --list); do
        [[ $applet == busybox ]] || ln "$root/bin/busybox" "$root/bin/$applet"
    done
    ln -s ../../bin/env "$root/usr/bin/env"
    cat >"$root/etc/passwd" <<'PASSWD'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
sync:x:4:100:sync:/bin:/bin/sync
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:Operator:/var:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
PASSWD
    cat >"$root/etc/group" <<'GROUP'
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
lp:x:7:
mail:x:8:
kmem:x:9:
wheel:x:10:root
cdrom:x:11:
dialout:x:18:
floppy:x:19:
video:x:28:
audio:x:29:
tape:x:32:
www-data:x:33:
operator:x:37:
utmp:x:43:
plugdev:x:46:
staff:x:50:
lock:x:54:
netdev:x:82:
users:x:100:
nogroup:x:65534:
GROUP
    # No password opens an account; `!` and `*` as Debian's base-passwd has them.
    sed -E 's/^([^:]+):.*$/\1:*:::::::/' "$root/etc/passwd" >"$root/etc/shadow"
    chmod 0640 "$root/etc/shadow"
    chmod 0644 "$root"/etc/{passwd,group}
    printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
    chmod 0644 "$root/etc/nsswitch.conf"

    oci_new "$work/layout"
    layer_tar --owner=0 --group=0 -C "$root" -cf "$work/layer.tar" .
    oci_layer "$work/layout" "$work/layer.tar" "busybox-static from Debian"
    oci_archive "$work/layout" '{
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Cmd": ["sh"]
    }' busybox "$work/busybox.oci.tar"
}
