# nginx: a minimal Debian, nginx-light on top of it, and the habits of Docker's nginx above both.
#
# One mmdebstrap run: its hooks keep a copy of the tree when the essential packages are installed
# (the base layer) and again when nginx is (the second); the third layer is written here.

packages() { echo nginx-light libc6 base-files debianutils; }

# What a running system makes anew, what differs from build to build, and what only apt needs.
litter() {
    local root=$1
    rm -rf "$root"/var/lib/apt "$root"/var/cache/apt "$root"/etc/apt "$root"/var/cache/debconf/*-old \
        "$root"/var/cache/ldconfig/aux-cache "$root"/var/lib/dpkg/*-old "$root"/var/log/* \
        "$root"/var/log/nginx/* "$root"/run/* "$root"/tmp/* "$root"/etc/hostname \
        "$root"/etc/resolv.conf "$root"/usr/sbin/policy-rc.d "$root"/etc/{passwd,group,shadow,gshadow,subuid,subgid}-
    : >"$root/etc/machine-id"
}

# hook_copy ROOT TO: the tree as it is now, without what does not belong in a layer.
hook_copy() {
    mkdir "$2"
    # The running build has its mounts on these three.
    tar -C "$1" --numeric-owner --xattrs --xattrs-include='*' --exclude=./{dev,proc,sys} -c . |
        tar -C "$2" --numeric-owner --xattrs --xattrs-include='*' -xp
    mkdir -m 0755 "$2"/{dev,proc,sys}
    # Diverted by mmdebstrap while packages are installed.
    if [[ -f $2/sbin/start-stop-daemon.REAL ]]; then
        mv "$2/sbin/start-stop-daemon.REAL" "$2/sbin/start-stop-daemon"
    fi
    litter "$2"
}

hook_layers() {
    local root=$1 work=$2
    hook_copy "$root" "$work/nginx"
    # debian's nginx-common owns it and logs into it.
    mkdir -p "$work/nginx/var/log/nginx"
    chown 33:4 "$work/nginx/var/log/nginx"
    tar_tree "$work/base" "$work/base.tar"
    tar_changes "$work/base" "$work/nginx" "$work/nginx.tar"
    cp -a "$work/nginx" "$work/config"
    configure "$work/config"
    tar_changes "$work/nginx" "$work/config" "$work/config.tar"
    rm -rf --one-file-system "$work"/{base,nginx,config}
}

configure() {
    local root=$1
    ln -s /dev/stdout "$root/var/log/nginx/access.log"
    ln -s /dev/stderr "$root/var/log/nginx/error.log"
    rm "$root/etc/nginx/sites-enabled/default"
    cat >"$root/etc/nginx/conf.d/default.conf" <<'CONF'
server {
    listen       80;
    listen  [::]:80;
    server_name  localhost;

    location / {
        root   /usr/share/nginx/html;
        index  index.html index.htm;
    }
}
CONF
}

build() {
    local work=$1 sources=() file layer
    need mmdebstrap
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [[ -s $file ]] && sources+=("$file")
    done
    ((${#sources[@]})) || die "this machine has no apt sources in /etc/apt"
    mkdir -m 0777 "$work/out"
    SOURCE_DATE_EPOCH=$epoch mmdebstrap --variant=essential --format=null \
        --include=nginx-light --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --essential-hook="'$self' hook nginx copy \"\$1\" '$work/out/base'" \
        --customize-hook="'$self' hook nginx layers \"\$1\" '$work/out'" \
        "$(. /etc/os-release && echo "$VERSION_CODENAME")" - "${sources[@]}" </dev/null >&2

    oci_new "$work/layout"
    oci_layer "$work/layout" "$work/out/base.tar" "essential packages of Debian"
    oci_layer "$work/layout" "$work/out/nginx.tar" "nginx-light from Debian"
    oci_layer "$work/layout" "$work/out/config.tar" "logs to the standard streams, pages from /usr/share/nginx/html"
    oci_archive "$work/layout" '{
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Cmd": ["nginx", "-g", "daemon off;"],
        "ExposedPorts": {"80/tcp": {}},
        "StopSignal": "SIGQUIT"
    }' nginx "$work/nginx.oci.tar"
}
