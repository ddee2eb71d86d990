-- Whom a WhatsApp sender wrote to in the last 24 hours: its messaging limit is counted at each claim.
CREATE INDEX attempts_whatsapp ON attempts (controller, sender, claimed_at) WHERE channel = 'whatsapp';
