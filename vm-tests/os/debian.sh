# SPDX-License-Identifier: Apache-2.0
# What base-root and base-kernel share: where packages come from.

# The words of a file, one a line, without its comments.
list() { sed 's/#.*//' "$1" | tr -s ' \n' '\n' | sed '/^$/d'; }

# sources SUITE: lines for sources.list. The machine's own sources first: they are the ones known to be reachable and wanted here.
sources() {
	local own
	own=$(apt-get indextargets --format '$(ORIGIN)|$(CODENAME)|$(CREATED_BY)|deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 2>/dev/null |
		awk -F'|' -v s="$1" '$1 == "Debian" && $2 ~ "^" s "(-updates|-security)?$" && $3 == "Packages" { print $4 }' |
		sort -u)
	if grep -q " $1 " <<< "$own"; then
		echo "$own"
		return
	fi
	cat <<-END
	deb http://deb.debian.org/debian $1 main
	deb http://deb.debian.org/debian $1-updates main
	deb http://deb.debian.org/debian-security $1-security main
	END
}

# Lines for apt.conf: proxies and retries of the machine hold for what is downloaded here too.
transport() { apt-config dump | grep '^Acquire::.*\(Proxy\|Retries\|Timeout\)' || true; }
