function record = read_latest(msg)
%READ_LATEST  Read one record of latest/ of a StreamScope session.
%   record = READ_LATEST(msg), msg a vector of bytes (uint8 or int8) as it was received.
%   Layout: docs/wire-protocol.md, latest/. record.c(record.ids == 42) is the activity of cell 42.

msg = reshape(msg, 1, []);
if isa(msg, 'int8')  % bytes that come from Java have a sign
    msg = typecast(msg, 'uint8');
end
if numel(msg) < 88 || ~strcmp(char(msg(1:7)), 'latest/')
    error('streamscope:record', 'This is no record of latest/; is the port that of the session + 2?');
end
if msg(8) ~= 1
    error('streamscope:version', 'This reads version 1 of the records, came %d.', msg(8));
end
n = double(typecast(msg(9:12), 'uint32'));
if numel(msg) < 88 + 24 * n
    error('streamscope:record', 'The record is cut off.');
end
record.n = n;
record.epoch = typecast(msg(13:16), 'uint32');
record.frame = typecast(msg(17:24), 'int64');
record.t_capture_ns = typecast(msg(25:32), 'int64');
record.t_result_ns = typecast(msg(33:40), 'int64');
record.t_publish_ns = typecast(msg(41:48), 'int64');
record.shift = [typecast(msg(49:52), 'single'), typecast(msg(53:56), 'single')];
record.quality = typecast(msg(57:60), 'single');
record.flags = typecast(msg(61:64), 'uint32');
record.gap = typecast(msg(65:68), 'uint32');
record.lag = typecast(msg(69:72), 'uint32');
record.hw = typecast(msg(73:80), 'int64');
record.seq = typecast(msg(81:88), 'uint64');
record.ids = typecast(msg(89:88+4*n), 'uint32');
record.y = typecast(msg(89+4*n:88+8*n), 'single');
record.c = typecast(msg(89+8*n:88+12*n), 'single');
record.s = typecast(msg(89+12*n:88+16*n), 'single');
record.c_lag = typecast(msg(89+16*n:88+20*n), 'single');
record.s_lag = typecast(msg(89+20*n:88+24*n), 'single');
end
