// StreamScope: reads the records of latest/, one byte array each. Layout: docs/wire-protocol.md, latest/
using Bonsai;
using System;
using System.ComponentModel;
using System.Reactive.Linq;
using System.Text;

namespace StreamScope
{
    /// <summary>The activity of all cells in one frame.</summary>
    public class LatestRecord
    {
        public int Count { get; set; }
        public uint Epoch { get; set; }
        public long Frame { get; set; }
        public long CaptureNs { get; set; }
        public long ResultNs { get; set; }
        public long PublishNs { get; set; }
        public float ShiftY { get; set; }
        public float ShiftX { get; set; }
        public float Quality { get; set; }
        public uint Flags { get; set; }
        public uint Gap { get; set; }
        public uint Lag { get; set; }
        public long HardwareCount { get; set; }
        public ulong Sequence { get; set; }
        public uint[] Ids { get; set; }
        public float[] Y { get; set; }
        public float[] C { get; set; }
        public float[] S { get; set; }
        public float[] CLag { get; set; }
        public float[] SLag { get; set; }

        /// <summary>The denoised value of one cell; NaN when it is not there.</summary>
        public float Cell(uint id)
        {
            var k = Array.IndexOf(Ids, id);
            return k < 0 ? float.NaN : C[k];
        }
    }

    [Combinator]
    [Description("Reads the records of latest/ of a StreamScope session.")]
    [WorkflowElementCategory(ElementCategory.Transform)]
    public class ReadLatest
    {
        const int HeadBytes = 88;
        const int Version = 1;

        public IObservable<LatestRecord> Process(IObservable<byte[]> source)
        {
            return source.Select(Read);
        }

        public static LatestRecord Read(byte[] b)
        {
            if (b.Length < HeadBytes || Encoding.ASCII.GetString(b, 0, 7) != "latest/")
                throw new InvalidOperationException("This is no record of latest/; is the port that of the session + 2?");
            if (b[7] != Version)
                throw new InvalidOperationException("This operator reads version 1 of the records, came " + b[7] + ".");
            var n = checked((int)BitConverter.ToUInt32(b, 8));
            if ((b.Length - HeadBytes) / 24 < n)
                throw new InvalidOperationException("The record is cut off.");
            var record = new LatestRecord
            {
                Count = n,
                Epoch = BitConverter.ToUInt32(b, 12),
                Frame = BitConverter.ToInt64(b, 16),
                CaptureNs = BitConverter.ToInt64(b, 24),
                ResultNs = BitConverter.ToInt64(b, 32),
                PublishNs = BitConverter.ToInt64(b, 40),
                ShiftY = BitConverter.ToSingle(b, 48),
                ShiftX = BitConverter.ToSingle(b, 52),
                Quality = BitConverter.ToSingle(b, 56),
                Flags = BitConverter.ToUInt32(b, 60),
                Gap = BitConverter.ToUInt32(b, 64),
                Lag = BitConverter.ToUInt32(b, 68),
                HardwareCount = BitConverter.ToInt64(b, 72),
                Sequence = BitConverter.ToUInt64(b, 80),
                Ids = new uint[n],
                Y = new float[n],
                C = new float[n],
                S = new float[n],
                CLag = new float[n],
                SLag = new float[n],
            };
            Buffer.BlockCopy(b, HeadBytes, record.Ids, 0, 4 * n);
            Buffer.BlockCopy(b, HeadBytes + 4 * n, record.Y, 0, 4 * n);
            Buffer.BlockCopy(b, HeadBytes + 8 * n, record.C, 0, 4 * n);
            Buffer.BlockCopy(b, HeadBytes + 12 * n, record.S, 0, 4 * n);
            Buffer.BlockCopy(b, HeadBytes + 16 * n, record.CLag, 0, 4 * n);
            Buffer.BlockCopy(b, HeadBytes + 20 * n, record.SLag, 0, 4 * n);
            return record;
        }
    }
}
