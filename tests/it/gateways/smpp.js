// An SMSC for the suite, made of the npm package `smpp` (node-smpp). Told what to do by lines of JSON on its standard input, it tells
// what happens by lines of JSON on its standard output. It ends when its input does.
'use strict';
const smpp = require('smpp');
const fs = require('fs');

const [password, port, certificate] = process.argv.slice(2);
const sessions = [];
const plays = new Map();

let messages = 0;

const tell = (on, more) => process.stdout.write(JSON.stringify({ on, ...more }) + '\n');

function tls() {
  const read = (name) => fs.readFileSync(`${certificate}/${name}.pem`);
  return { key: read('key'), cert: read('cert') };
}

// Which part of how many: by user data header or by SAR parameters.
function part(pdu) {
  const header = (pdu.short_message.udh || []).find((element) => element[0] === 0);
  if (header) return { udh: header.toString('hex'), reference: header[2], of: header[3], n: header[4] };
  if (pdu.sar_total_segments) {
    return { sar: true, reference: pdu.sar_msg_ref_num, of: pdu.sar_total_segments, n: pdu.sar_segment_seqnum };
  }
  return { n: 1, of: 1 };
}

function serve(session) {
  const n = sessions.push(session);
  session.on('error', () => {});
  session.on('close', () => tell('closed', { session: n }));
  session.on('enquire_link', (pdu) => {
    session.send(pdu.response());
    tell('enquire_link', { session: n });
  });
  for (const command of ['bind_transceiver', 'bind_transmitter']) {
    session.on(command, (pdu) => {
      const fits = pdu.password === password;
      session.send(pdu.response(fits ? { system_id: 'smsc' } : { command_status: smpp.ESME_RINVPASWD }));
      const { system_id, system_type, interface_version } = pdu;
      tell(fits ? 'bound' : 'refused', { session: n, command, system_id, system_type, interface_version });
    });
  }
  session.on('unbind', (pdu) => {
    session.send(pdu.response(), () => {}, () => session.close());
    tell('unbound', { session: n });
  });
  session.on('submit_sm', (pdu) => {
    const place = part(pdu);
    const key = [`${pdu.destination_addr}#${place.n}`, pdu.destination_addr].find((key) => plays.has(key));
    const play = plays.get(key) || { play: 'accept' };
    const id = (0x1a2b3c + messages++).toString(16).toUpperCase();
    tell('submit', {
      session: n, id, play: play.play, ...place, sequence: pdu.sequence_number,
      from: [pdu.source_addr_ton, pdu.source_addr_npi, pdu.source_addr],
      to: [pdu.dest_addr_ton, pdu.dest_addr_npi, pdu.destination_addr],
      text: pdu.short_message.message, esm_class: pdu.esm_class, data_coding: pdu.data_coding,
      registered_delivery: pdu.registered_delivery,
      validity: pdu.validity_period ? Math.round((pdu.validity_period - Date.now()) / 1000) : null,
    });
    const accept = () => session.send(pdu.response({ message_id: id }));
    switch (play.play) {
      case 'accept': return accept();
      case 'without id': return session.send(pdu.response());
      case 'status': return session.send(pdu.response({ command_status: play.status }));
      // Once only: what is tried again is taken.
      case 'status once':
        plays.delete(key);
        return session.send(pdu.response({ command_status: play.status }));
      case 'nack': return session.send(new smpp.PDU('generic_nack', { sequence_number: pdu.sequence_number, command_status: 3 }));
      case 'silence': return undefined;
      case 'destroy': return session.destroy();
      case 'receipt first':
        return session.deliver_sm(receipt(id, pdu), () => accept());
      default: throw new Error(`no play ${play.play}`);
    }
  });
}

function receipt(id, pdu) {
  return {
    esm_class: 4, source_addr_ton: 1, source_addr_npi: 1, source_addr: pdu.destination_addr, destination_addr: pdu.source_addr,
    short_message: `id:${id} sub:001 dlvrd:001 submit date:2612011045 done date:2612011045 stat:DELIVRD err:000 text:`,
  };
}

const commands = {
  play({ to, ...play }) { plays.set(to, play); },
  // Nobody is there, and is again on the same port.
  away() {
    server.close();
    sessions.forEach((session) => session.destroy());
  },
  back() { server.listen(port, '127.0.0.1', () => tell('back', {})); },
  destroy() { sessions.forEach((session) => session.destroy()); },
  enquire() { newest().enquire_link({}, () => tell('there', {})); },
  // A deliver_sm whose text is given as octets, so that nothing here encodes it.
  deliver({ tag, octets, ...fields }) {
    const tlvs = {};
    for (const name of ['receipted_message_id', 'message_state', 'sar_msg_ref_num', 'sar_total_segments', 'sar_segment_seqnum']) {
      if (fields[name] !== undefined) tlvs[name] = fields[name];
    }
    newest().deliver_sm({
      source_addr_ton: 1, source_addr_npi: 1, dest_addr_ton: 1, dest_addr_npi: 1, ...fields, ...tlvs,
      short_message: Buffer.from(octets, 'hex'),
    }, (answer) => tell('delivered', { tag, status: answer.command_status }));
  },
  // Octets as they are, for what this package would not write.
  raw({ octets }) { newest().socket.write(Buffer.from(octets, 'hex')); },
};

const newest = () => sessions[sessions.length - 1];

const server = certificate ? smpp.createServer(tls(), serve) : smpp.createServer(serve);
server.listen(port, '127.0.0.1', () => tell('listening', {}));
require('readline').createInterface({ input: process.stdin })
  .on('line', (line) => { const { command, ...rest } = JSON.parse(line); commands[command](rest); tell('done', {}); })
  .on('close', () => process.exit(0));
