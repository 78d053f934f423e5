/** Verbs of xl that Domus does not have, and what to do instead. */
const NO_DEVICES = 'devices of the host are not passed to guests';
const AT_START = 'give it to the guest when it is started: "domus create", "domus run -d"';

const all = (why: string, remedy: string, ...names: string[]): [string, readonly [string, string]][] =>
  names.map(name => [name, [why, remedy]]);

export const NOT_THERE: ReadonlyMap<string, readonly [why: string, remedy: string]> = new Map([
  ...all(
    'a guest’s configuration is its own once it runs',
    'mem-set, vcpu-set, sched-credit and rename change it while it runs; create starts it with another one',
    'config-update',
  ),
  ...all('guests move by files', 'use save here and restore there', 'migrate', 'migrate-receive', 'remus'),
  ...all(
    'a guest is not held in memory by itself',
    'use pause and unpause, or save and restore',
    'suspend',
    'resume',
  ),
  ...all('NMIs and buttons are not there', 'use sysrq, reboot or shutdown', 'trigger', 'button-press'),
  ...all('guests have no screen', 'use console', 'vncviewer'),
  ...all('there are no CD drives', 'give the image as a disk, read-only', 'cd-insert', 'cd-eject'),
  ...all(
    'the network device of a running guest stays where it is',
    'give it to the guest when it is started; network-set cuts its line and mends it',
    'network-attach',
    'network-detach',
  ),
  ...all(
    NO_DEVICES,
    AT_START,
    'pci-attach',
    'pci-detach',
    'pci-list',
    'pci-assignable-list',
    'usbdev-attach',
    'usbdev-detach',
  ),
  ...all('the memory of a guest is not dumped', 'use logs -c, or run --gdb', 'dump-core'),
  ...all('the scheduler is the credit scheduler', 'use sched-credit', 'sched-credit2', 'sched-rtds'),
  ...all(
    'there is one pool of processors',
    'use vcpu-pin',
    'cpupool-list',
    'cpupool-create',
    'cpupool-destroy',
    'cpupool-split',
  ),
  ...all('there is no security module', 'leave it out', 'getenforce', 'setenforce', 'loadpolicy'),
  ...all(
    'the host process needs no such settings',
    'leave it out',
    'debug-keys',
    'set-parameters',
    'devd',
    'claims',
  ),
  ...all('each guest has its own name', 'use list', 'vm-list'),
]);
