# Writes an OCI image layout: blobs, configuration, manifest, index, and the archive of it all.
#
# oci_new DIR; oci_layer DIR TAR COMMENT (lowest first); oci_archive DIR CONFIG-JSON NAME OUT

# Newer times are set to this one, so that two builds give the same bytes.
epoch=1735689600
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)

oci_new() {
    mkdir -p "$1/blobs/sha256"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$1/oci-layout"
    printf '[]' >"$1/.layers"
    printf '[]' >"$1/.diff_ids"
    printf '[]' >"$1/.history"
}

# Moves FILE among the blobs and prints its descriptor.
oci_blob() {
    local dir=$1 file=$2 type=$3 hex size
    hex=$(sha256sum "$file" | cut -d' ' -f1)
    size=$(stat -c %s "$file")
    mv "$file" "$dir/blobs/sha256/$hex"
    chmod 0644 "$dir/blobs/sha256/$hex"
    jq -cn --arg type "$type" --arg digest "sha256:$hex" --argjson size "$size" \
        '{mediaType: $type, digest: $digest, size: $size}'
}

# oci_append FILE JSON: adds one element to a list kept in a file.
oci_append() {
    local list
    list=$(jq -c --argjson element "$2" '. + [$element]' "$1")
    printf '%s' "$list" >"$1"
}

oci_layer() {
    local dir=$1 tar=$2 comment=$3 diff_id
    diff_id=sha256:$(sha256sum "$tar" | cut -d' ' -f1)
    gzip -n -6 "$tar"
    oci_append "$dir/.diff_ids" "\"$diff_id\""
    oci_append "$dir/.layers" "$(oci_blob "$dir" "$tar.gz" application/vnd.oci.image.layer.v1.tar+gzip)"
    oci_append "$dir/.history" "$(jq -cn --arg created "$created" --arg by "$comment" \
        '{created: $created, created_by: $by}')"
}

oci_archive() {
    local dir=$1 config=$2 name=$3 out=$4 descriptor
    jq -cn --argjson config "$config" --arg created "$created" --arg arch "$(dpkg --print-architecture)" \
        --slurpfile diff_ids "$dir/.diff_ids" --slurpfile history "$dir/.history" \
        '{created: $created, architecture: $arch, os: "linux", config: $config,
          rootfs: {type: "layers", diff_ids: $diff_ids[0]}, history: $history[0]}' >"$dir/.config"
    descriptor=$(oci_blob "$dir" "$dir/.config" application/vnd.oci.image.config.v1+json)
    jq -cn --argjson config "$descriptor" --slurpfile layers "$dir/.layers" \
        '{schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
          config: $config, layers: $layers[0]}' >"$dir/.manifest"
    descriptor=$(oci_blob "$dir" "$dir/.manifest" application/vnd.oci.image.manifest.v1+json)
    jq -cn --argjson manifest "$descriptor" --arg name "$name" \
        '{schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
          manifests: [$manifest + {annotations: {
            "io.containerd.image.name": "docker.io/library/\($name):latest",
            "org.opencontainers.image.ref.name": "latest"}}]}' >"$dir/index.json"
    rm "$dir/.layers" "$dir/.diff_ids" "$dir/.history"
    tar -C "$dir" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" \
        -cf "$out" oci-layout index.json blobs
}
