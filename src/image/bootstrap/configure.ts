/** What is left to be done by the new system itself, in a guest: the packages' own scripts. */
import { shellQuote } from '../shell-quote.ts';
import type { UnpackedPackage } from './dpkg-database.ts';

/** Other packages' scripts give files to the users that these make. */
const FIRST = ['base-passwd', 'base-files'];

/**
 * A script for the shell of the new system. The scripts that dpkg runs before it unpacks are run after it here, which those of a
 * first installation do not mind: they look at what was there before.
 */
export function configureScript(packages: readonly UnpackedPackage[]): string {
  const preinst = packages
    .filter(({ hasPreinst }) => hasPreinst)
    .map(({ name, infoName }) => `preinst ${shellQuote(name)} ${shellQuote(infoName)}`);
  const first = FIRST.filter(name => packages.some(each => each.name === name));
  return `set -e
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
preinst() {
  DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE="$1" DPKG_MAINTSCRIPT_ARCH=amd64 DPKG_ROOT= \\
    DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_ADMINDIR=/var/lib/dpkg "/var/lib/dpkg/info/$2.preinst" install
}
ldconfig
${preinst.join('\n')}
${first.length > 0 ? `dpkg --force-depends --configure ${first.join(' ')}` : ''}
dpkg --configure -a
# Nothing of this run may stay: not who it was, not what it wrote down.
rm -rf /var/cache/apt/*.bin /var/log/dpkg.log /var/log/alternatives.log /var/log/bootstrap.log /etc/hostname /etc/hosts
rm -f /var/lib/dpkg/*-old /var/cache/debconf/*-old /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow-
: >/etc/machine-id
cd /
sync
mount -o remount,ro /
`;
}
