/** What a PVH Linux kernel asks of the hypervisor on its way up, in its order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as ev from '../abi/xen/event-channel.ts';
import * as gnttab from '../abi/xen/grant-table.ts';
import * as hvm from '../abi/xen/hvm.ts';
import * as mem from '../abi/xen/memory.ts';
import * as sched from '../abi/xen/sched.ts';
import * as vcpuAbi from '../abi/xen/vcpu.ts';
import * as version from '../abi/xen/version.ts';
import { DOMID_SELF, Hypervisor, SharedInfo, VcpuInfo, VIRQ_TIMER } from '../abi/xen/xen.ts';
import { Exit } from '../cpu/vcpu/exit.ts';
import { allocUnboundFor, bindToGuest, deliverEvents, notify } from './event/backend.ts';
import { shutdownCode } from './life.ts';
import { mfnOfGfn } from './p2m.ts';
import { runOne } from './scheduler.ts';
import { guestAddress, guestStruct, issue, issueOp, SCRATCH, testDomain, testMachine } from './testing.ts';

const { memory_op, xen_version, vcpu_op, event_channel_op, hvm_op, grant_table_op, sched_op, vm_assist } =
  Hypervisor;

for (const layout of ['2-level', 'FIFO'] as const) {
  test(`a kernel comes up with ${layout} events, its timer fires and it powers off`, () => {
    const machine = testMachine();
    const domain = testDomain(machine);
    const { memory } = machine.hypervisor;
    const vcpu = domain.vcpus[0]!;
    domain.state.hvmParams.set(hvm.HvmParam.STORE_PFN, 0x3fn);

    assert.equal(issue(vcpu, xen_version, version.Xenver.version, 0), (4 << 16) | 17);
    const features = issueOp(vcpu, version.XenFeatureInfo, { submap_idx: 0 }, a =>
      issue(vcpu, xen_version, version.Xenver.get_features, a),
    );
    assert.equal(features.op.submap, 0x12305);
    assert.equal(issue(vcpu, xen_version, version.Xenver.extraversion, SCRATCH), 0);
    const text = memory.u8.slice(guestAddress(domain, SCRATCH), guestAddress(domain, SCRATCH) + 9);
    assert.equal(new TextDecoder().decode(text), '.0-domus\0');

    // shared_info over a page of RAM that is not unmapped before
    const pages = domain.state.totPages;
    const shared = issueOp(vcpu, mem.XenAddToPhysmap, { domid: DOMID_SELF, space: 0, idx: 0n, gpfn: 1n }, a =>
      issue(vcpu, memory_op, mem.Xenmem.add_to_physmap, a),
    );
    assert.equal(shared.result, 0);
    assert.equal(domain.state.totPages, pages - 1);
    assert.equal(mfnOfGfn(domain, 1) * 4096, domain.state.sharedInfo);
    const info = SharedInfo.at(memory.view, guestAddress(domain, 0x1000));
    assert.equal(info.wc_sec, 1_700_000_000);
    assert.equal(info.wc_nsec, 123_456_789);
    assert.equal(info.wc_version % 2, 0);

    const register = { mfn: 2n, offset: 0x100 };
    const registered = issueOp(vcpu, vcpuAbi.VcpuRegisterVcpuInfo, register, a =>
      issue(vcpu, vcpu_op, vcpuAbi.Vcpuop.register_vcpu_info, 0, a),
    );
    assert.equal(registered.result, 0);
    const vi = VcpuInfo.at(memory.view, guestAddress(domain, 0x2100));
    assert.equal(vi.time.tsc_to_system_mul, 2 ** 31);
    assert.equal(vi.time.tsc_shift, 0);
    assert.equal(vi.time.version % 2, 0);
    assert.notEqual(vi.time.version, 0);

    if (layout === 'FIFO') {
      const control = issueOp(vcpu, ev.EvtchnInitControl, { control_gfn: 3n, vcpu: 0 }, a =>
        issue(vcpu, event_channel_op, ev.Evtchnop.init_control, a),
      );
      assert.equal(control.result, 0);
      assert.equal(control.op.link_bits, 17);
      const array = issueOp(vcpu, ev.EvtchnExpandArray, { array_gfn: 4n }, a =>
        issue(vcpu, event_channel_op, ev.Evtchnop.expand_array, a),
      );
      assert.equal(array.result, 0);
    }
    const vector = issueOp(vcpu, hvm.XenHvmEvtchnUpcallVector, { vcpu: 0, vector: 0xf3 }, a =>
      issue(vcpu, hvm_op, hvm.Hvmop.set_evtchn_upcall_vector, a),
    );
    assert.equal(vector.result, 0);
    machine.upcalls.length = 0;
    memory.u8.fill(0, vi.address, vi.address + 16);

    assert.equal(issue(vcpu, vm_assist, 0, 5), 0);
    const param = issueOp(vcpu, hvm.XenHvmParam, { domid: DOMID_SELF, index: 1 }, a =>
      issue(vcpu, hvm_op, hvm.Hvmop.get_param, a),
    );
    assert.equal(param.result, 0);
    assert.equal(param.op.value, 0x3fn);
    const size = issueOp(vcpu, gnttab.GnttabQuerySize, { dom: DOMID_SELF }, a =>
      issue(vcpu, grant_table_op, gnttab.Gnttabop.query_size, a, 1),
    );
    assert.deepEqual([size.result, size.op.status, size.op.nr_frames, size.op.max_nr_frames], [0, 0, 1, 64]);
    const grants = issueOp(
      vcpu,
      mem.XenAddToPhysmap,
      { domid: DOMID_SELF, space: 1, idx: 3n, gpfn: 200n },
      a => issue(vcpu, memory_op, mem.Xenmem.add_to_physmap, a),
    );
    assert.equal(grants.result, 0);
    assert.equal(domain.state.nrGrantFrames, 4);

    const virq = issueOp(vcpu, ev.EvtchnBindVirq, { virq: VIRQ_TIMER, vcpu: 0 }, a =>
      issue(vcpu, event_channel_op, ev.Evtchnop.bind_virq, a),
    );
    assert.equal(virq.result, 0);
    const port = virq.op.port;
    assert.equal(port, 1);
    if (layout === 'FIFO') {
      // Linux unmasks the port that it has bound.
      memory.u32[guestAddress(domain, 0x4000) / 4 + port] = 0;
    }

    // HLT until the timer
    const timer = issueOp(vcpu, vcpuAbi.VcpuSetSingleshotTimer, { timeout_abs_ns: 5000n }, a =>
      issue(vcpu, vcpu_op, vcpuAbi.Vcpuop.set_singleshot_timer, 0, a),
    );
    assert.equal(timer.result, 0);
    vcpu.block.flagSys = 0x202;
    machine.script.run = () => Exit.halt;
    assert.equal(runOne(machine.hypervisor).kind, 'ran');
    assert.deepEqual(runOne(machine.hypervisor), { kind: 'idle', waitNs: 4000 });
    machine.clock.nowNs = 5000;
    assert.equal(runOne(machine.hypervisor).kind, 'ran');
    assert.deepEqual(machine.upcalls, [[vcpu.state.block, 0xf3]]);
    assert.equal(vi.evtchn_upcall_pending, 1);
    if (layout === '2-level') {
      assert.equal(vi.evtchn_pending_sel, 1n);
      assert.equal(info.evtchn_pending.get(0), 2n);
    } else {
      const control = guestStruct(domain, ev.EvtchnFifoControlBlock, 0x3000);
      assert.equal(control.ready, 1 << 7);
      assert.equal(control.head.get(7), port);
    }

    // a backend's event, and the guest's answer
    let answers = 0;
    const guestPort = allocUnboundFor(domain);
    const backendPort = bindToGuest(domain, guestPort, () => answers++);
    assert.ok(backendPort > 0);
    if (layout === 'FIFO') memory.u32[guestAddress(domain, 0x4000) / 4 + guestPort] = 0;
    vi.evtchn_upcall_pending = 0;
    vi.evtchn_pending_sel = 0n;
    if (layout === 'FIFO') guestStruct(domain, ev.EvtchnFifoControlBlock, 0x3000).ready = 0;
    const word = guestAddress(domain, 0x4000) / 4 + port;
    if (layout === 'FIFO') memory.u32[word] = 0;
    assert.equal(notify(machine.hypervisor, backendPort), 0);
    assert.equal(vi.evtchn_upcall_pending, 1);
    const send = issueOp(vcpu, ev.EvtchnSend, { port: guestPort }, a =>
      issue(vcpu, event_channel_op, ev.Evtchnop.send, a),
    );
    assert.equal(send.result, 0);
    assert.equal(answers, 0);
    deliverEvents(machine.hypervisor);
    assert.equal(answers, 1);

    const off = issueOp(vcpu, sched.SchedShutdown, { reason: sched.SHUTDOWN_poweroff }, a =>
      issue(vcpu, sched_op, sched.Schedop.shutdown, a),
    );
    assert.equal(off.result, 0);
    assert.equal(shutdownCode(domain), sched.SHUTDOWN_poweroff);
    assert.equal(runOne(machine.hypervisor).kind, 'idle');
  });
}
