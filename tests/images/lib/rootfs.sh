# Turns root file systems into layer tars: a whole one, or the changes from one to another.

layer_tar() {
    tar --sort=name --numeric-owner --xattrs --xattrs-include='*' --clamp-mtime --mtime="@$epoch" \
        --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime "$@"
}

# tar_tree ROOT OUT
tar_tree() { layer_tar -C "$1" -cf "$2" .; }

# One line a path, with all that a layer could change in it but its times.
describe_tree() {
    (
        cd "$1"
        find . -mindepth 1 ! -type f -printf '%P\t%y %m %U %G %l\n'
        find . -type f -printf '%P\t%m %U %G %n\n'
        find . -type f -print0 | xargs -0r sha256sum -- | sed -E 's/^([0-9a-f]{64})  \.\/(.*)$/\2\t\1/'
    ) | sort
}

# tar_changes OLD NEW OUT: what makes NEW of OLD, with a whiteout for what went.
tar_changes() {
    local old=$1 new=$2 out=$3 scratch path
    scratch=$(mktemp -d)
    describe_tree "$old" >"$scratch/old"
    describe_tree "$new" >"$scratch/new"
    comm -13 "$scratch/old" "$scratch/new" | cut -f1 | uniq >"$scratch/changed"
    cut -f1 "$scratch/old" | uniq >"$scratch/old.paths"
    cut -f1 "$scratch/new" | uniq >"$scratch/new.paths"
    mkdir "$scratch/whiteouts"
    comm -23 "$scratch/old.paths" "$scratch/new.paths" | while IFS= read -r path; do
        # A directory that went takes all that was in it along.
        [[ $path != */* || -d $new/${path%/*} ]] || continue
        mkdir -p "$scratch/whiteouts/$(dirname "$path")"
        : >"$scratch/whiteouts/$(dirname "$path")/.wh.$(basename "$path")"
    done
    (cd "$scratch/whiteouts" && find . -type f -printf '%P\n' | sort) >"$scratch/gone"
    # As in layers that Docker makes, the directories that lead to a change are in the layer too.
    sed '/\//!d; s,/[^/]*$,,' "$scratch/changed" "$scratch/gone" | sort -u |
        while IFS= read -r path; do
            while printf '%s\n' "$path" && [[ $path == */* ]]; do path=${path%/*}; done
        done | sort -u - "$scratch/changed" >"$scratch/entries"
    layer_tar --no-recursion -C "$new" -cf "$out" --verbatim-files-from -T "$scratch/entries"
    layer_tar --no-recursion -C "$scratch/whiteouts" --owner=0 --group=0 --mode=0644 \
        -rf "$out" --verbatim-files-from -T "$scratch/gone"
    rm -rf "$scratch"
}
