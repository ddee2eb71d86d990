-- When a number that stands for its human's noes and asks alone was forgotten: whoever writes by it since may be somebody else.
ALTER TABLE humans ADD COLUMN forgotten_at BIGINT;
