function listen_latest(address)
%LISTEN_LATEST  Print the strongest cell of each newest frame of a running StreamScope session.
%   LISTEN_LATEST('tcp://127.0.0.1:5572'): the port that the session printed, plus 2.
%   Needs JeroMQ (one file, jeromq.jar) on the Java path: javaaddpath('jeromq-0.6.0.jar')

if nargin < 1
    address = 'tcp://127.0.0.1:5572';
end
context = org.zeromq.ZContext();
cleanup = onCleanup(@() context.close());
socket = context.createSocket(org.zeromq.SocketType.SUB);
socket.setConflate(true);  % keep only the newest record
socket.subscribe(uint8('latest/'));
socket.setReceiveTimeOut(1000);
socket.connect(address);
while true
    msg = socket.recv();
    if isempty(msg)
        disp('nothing for a second: is a session running?');
        continue
    end
    record = read_latest(msg);
    [strongest, k] = max(record.c);
    if record.n > 0
        fprintf('frame %d: cell %d has %.1f\n', record.frame, record.ids(k), strongest);
    end
end
end
